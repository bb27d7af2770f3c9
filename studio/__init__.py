"""What people touch: pages, REST API, command line. Never imports torch."""

import os

# Nothing may leave this machine unasked: Gradio reads these while it is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
