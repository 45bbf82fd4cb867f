"""What a unit's program raises when it is refused. No HDL is imported."""

__all__ = ["ProgramError"]


class ProgramError(ValueError):
    """A program that the unit cannot run as it is meant; the message names the field, its value and the limit."""
