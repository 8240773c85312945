"""The worlds of these tests are closed when their test is over."""

from replay_world import closed_worlds

__all__ = ["closed_worlds"]
