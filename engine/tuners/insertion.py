"""Where virtual tokens stand in a batch of texts of different lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Insertion:
    """`before` places in front of each text's first token and `after` places behind its last, padding around those.

    `order` (batch, before + length + after) says for each place what stands there, as an index into the text's places,
    then those before, then those after; `places` (batch, length) where each token of the text went. All are None when
    the texts begin their rows and nothing comes after them.
    """

    before: int
    after: int
    order: torch.Tensor | None
    places: torch.Tensor | None
    starts: torch.Tensor | None
    ends: torch.Tensor | None

    @classmethod
    def of(cls, mask: torch.Tensor | None, like: torch.Tensor, before: int, after: int, causal: bool) -> Insertion:
        """Return the insertion into texts (batch, length, ...) whose real tokens `mask` (batch, length) tells.

        `causal`: what is given out for a text's last token is that of the last place behind it, which alone knows what
        stands there. Raises ValueError for a mask of another form.
        """
        if mask is not None and mask.dim() != 2:
            raise ValueError("virtual tokens need a mask of shape (batch, length)")
        if not after and (mask is None or bool(mask[:, 0].all())):
            return cls(before, 0, None, None, None, None)
        rows, length = like.shape[:2]
        places = torch.arange(length, device=like.device)
        real = torch.ones(rows, length, device=like.device, dtype=torch.long) if mask is None else (mask != 0).long()
        starts, ends = real.argmax(1, keepdim=True), (real * (places + 1)).amax(1, keepdim=True)
        at = torch.arange(before + length + after, device=like.device).expand(rows, -1)
        order = torch.where(at < before + ends, at - before, torch.where(
            at < before + ends + after, length + at - ends, at - before - after))
        order = torch.where(at < starts, at, torch.where(at < starts + before, length + at - starts, order))
        moved = torch.where(places < ends, before + places, before + after + places)
        moved = torch.where(places < starts, places, moved)
        if causal and after:
            moved = torch.where(places == ends - 1, before + ends + after - 1, moved)
        return cls(before, after, order, moved, starts, ends)

    def lay(self, text: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Return (batch, before + length + after, ...) of what stands in the text and around it."""
        if self.order is None:
            return torch.cat([before, text], dim=1)
        every = torch.cat([text, before, after], dim=1)
        order = self.order if every.dim() == 2 else self.order.unsqueeze(-1).expand(-1, -1, every.shape[-1])
        return every.gather(1, order)

    def mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Return the mask of texts (batch, length) with the places around them seen."""
        return self.lay(mask, mask.new_ones(len(mask), self.before), mask.new_ones(len(mask), self.after))

    def inputs(self, given: dict[str, Any], text: torch.Tensor, before: torch.Tensor,
               after: torch.Tensor) -> dict[str, Any]:
        """Return the arguments of the model's call that change."""
        rows = len(text)
        found: dict[str, Any] = {"input_ids": None, "inputs_embeds": self.lay(text, before, after)}
        if given.get("attention_mask") is not None:
            found["attention_mask"] = self.mask(given["attention_mask"])
        if given.get("token_type_ids") is not None:
            kinds = given["token_type_ids"].expand(rows, -1)
            found["token_type_ids"] = self.lay(kinds, kinds.new_zeros(rows, self.before),
                                               kinds.new_zeros(rows, self.after))
        if given.get("position_ids") is not None:
            found["position_ids"] = self._positions(given["position_ids"].expand(rows, -1))
        return found

    def _positions(self, given: torch.Tensor) -> torch.Tensor:
        """Return positions (batch, longer): the virtual tokens take the first ones, the text follows."""
        first = given.gather(1, self.starts) if self.starts is not None else given[:, :1]
        last = given.gather(1, self.ends - 1) if self.ends is not None else given[:, -1:]
        before = first + torch.arange(self.before, device=given.device)
        after = last + self.before + 1 + torch.arange(self.after, device=given.device)
        return self.lay(given + self.before, before, after)

    @classmethod
    def later(cls, given: dict[str, Any], places: int) -> dict[str, Any]:
        """Return the arguments of a call that goes on from a cache which holds `places` virtual tokens already."""
        found = dict(given)
        mask = given.get("attention_mask")
        if mask is not None:
            # All of them are seen, so it does not matter how many of them stand behind the text.
            found["attention_mask"] = cls.of(mask, mask, places, 0, False).mask(mask)
        if given.get("position_ids") is not None:
            found["position_ids"] = given["position_ids"] + places
        return found

    def text_of(self, output: Any) -> Any:
        """Return what a stack of blocks gives out, cut down to the text's own hidden states."""
        if isinstance(output, torch.Tensor):
            return self._text(output)
        if isinstance(output, tuple):
            return (self._text(output[0]), *output[1:])
        output.last_hidden_state = self._text(output.last_hidden_state)
        states = output.get("hidden_states")
        if states is not None:
            output.hidden_states = type(states)(self._text(item) for item in states)
        return output

    def _text(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.places is None:
            return hidden[:, self.before:]
        return hidden.gather(1, self.places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
