"""The gateway's end of the agent protocol: frames, a link of many channels, and the guest that lives on it."""
