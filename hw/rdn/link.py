"""One direction of one link of the vector or the scalar fabric."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Link"]


class Link(wiring.Signature):
    """A link with hop-by-hop credits, seen from the sender.

    Parameters: ``payload``, layout of a packet; ``labels``, virtual circuits that share the link; ``slots``, buffers for dynamic
    packets behind it, which count as further labels.
    Members:
      ``valid`` Out, a packet crosses the link in this cycle (there is no ready: the sender holds a credit for it);
      ``label`` Out, its virtual circuit, an index into the receiver's buffers;
      ``payload`` Out, the packet;
      ``credit`` In, bit l: the receiver has freed one place in the buffer of label l in this cycle.
    Contract: after reset the sender holds ``buffer_depth`` credits for each label and one for each slot. A label that the receiver does not
    implement never returns a credit and must not be used.
    """

    def __init__(self, payload, labels: int, slots: int = 0):
        self.payload_layout, self.labels, self.slots = payload, labels, slots
        super().__init__({
            "valid": Out(1), "label": Out(range(labels + slots)), "payload": Out(payload), "credit": In(labels + slots),
        })
