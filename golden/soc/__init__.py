"""The core that runs whole layers from a bus: its registers, packets and schedule."""
