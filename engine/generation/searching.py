"""What a person can choose about how a text is looked for, when a model is evaluated and when it is asked."""

from __future__ import annotations

from engine.knobs import knob
from engine.tasks.terms import Asking

#: Titles and help of settings that a task and a question share.
BEAMS, BEAMS_HELP = "Beams", "Texts followed at once, of which the best is taken: better texts, slower. 1 is fastest."
PENALTY, PENALTY_HELP = "Length penalty", "Above 1 prefers long texts, below 1 short ones. It matters with beams."
REPEAT, REPEAT_HELP = "No repeats of", "No run of this many tokens is written twice; 0 allows all."


class Searching(Asking):
    """How a text is looked for."""

    num_beams: int = knob(1, ge=1, le=16, title=BEAMS, help=BEAMS_HELP)
    max_new_tokens: int = knob(128, ge=1, le=4096, slider=(8, 512), step=8, unit="tokens", title="Longest text",
                               help="The text ends here at the latest.")
    length_penalty: float = knob(1.0, ge=-5, le=5, step=0.1, title=PENALTY, help=PENALTY_HELP)
    no_repeat: int = knob(0, ge=0, le=20, unit="tokens", title=REPEAT, help=REPEAT_HELP)
