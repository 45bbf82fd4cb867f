"""The one error of the compiler's back half."""

__all__ = ["CompileError"]


class CompileError(ValueError):
    """A graph that the hardware cannot run: the message names the node, the value, the limit, and a way out."""

    def __init__(self, problem: str, *, way_out: str = ""):
        super().__init__(f"{problem}; {way_out}" if way_out else problem)
