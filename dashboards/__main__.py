"""`python -m dashboards [--port 8501] [--host 127.0.0.1]`: serve EdgeManager until stopped."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

LOOK = {
    "theme.light.primaryColor": "#0072B2",
    "theme.dark.primaryColor": "#56B4E9",
    "theme.light.backgroundColor": "#ffffff",
    "theme.dark.backgroundColor": "#101418",
}


def main() -> None:
    """Become the Streamlit server: no telemetry, no file watching, quiet."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description="Serve EdgeManager.")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--host", default="127.0.0.1")
    asked = parser.parse_args()
    settings = {
        "server.port": asked.port,
        "server.address": asked.host,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        **LOOK,
    }
    script = str(Path(__file__).with_name("app.py"))
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "streamlit", "run", script, *options]
    os.execv(sys.executable, command)  # noqa: S606 - our own program, arguments we made


if __name__ == "__main__":
    main()
