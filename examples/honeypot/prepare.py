"""Write the honeypot's configuration with places of its own: everything below TRAP_DIR, recordings to S3 if asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
DIRECTORY = Path(os.environ.get("TRAP_DIR") or "/var/lib/honeypot")
PORT = os.environ.get("TRAP_PORT") or "2222"
BUCKET = {
    "bucket": os.environ.get("TRAP_BUCKET", ""),
    "endpoint": os.environ.get("TRAP_S3", ""),
    "region": os.environ.get("AWS_REGION") or "us-east-1",
}


def main() -> None:
    config: dict[str, Any] = yaml.safe_load((HERE / "config.yaml").read_text())
    config["ssh"]["listen"] = f"0.0.0.0:{PORT}"
    config["state"] = {"directory": str(place("state"))}
    audit = config["audit"]
    audit["file"]["directory"] = str(place("recordings"))
    audit["capture"]["directory"] = str(place("captured"))
    audit["events"][0]["file"] = str(DIRECTORY / "events.jsonl")
    if BUCKET["bucket"]:
        # The keys are taken from the environment, as every S3 client does.
        audit["storage"] = "s3"
        audit["s3"] = {**BUCKET, "local": str(place("spool")), "captured": True}
        audit["s3"]["pathStyleAccess"] = bool(BUCKET["endpoint"])
    with os.fdopen(os.open(DIRECTORY / "config.yaml", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.safe_dump(config, file)
    print(f"listens at port {PORT}; what it catches goes to {DIRECTORY}")


def place(name: str) -> Path:
    """A directory below DIRECTORY that nobody else may read."""
    path = DIRECTORY / name
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


if __name__ == "__main__":
    main()
