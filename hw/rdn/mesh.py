"""A grid of switches without units: what tests and measurements of the network run on."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..hierarchy import instantiate
from .node import EAST, LOCAL, NORTH, SOUTH, WEST, SwitchNode, scalar_link, switch_program, vector_link

__all__ = ["Mesh", "join_neighbours"]

_FABRICS = ("vector", "scalar")


def join_neighbours(m: Module, nodes: dict[tuple[int, int], SwitchNode]) -> None:
    """Joins every node at (row, column) to its southern and eastern neighbour, in all fabrics; edges stay as they are."""
    for (row, column), node in nodes.items():
        for there, back, at in ((SOUTH, NORTH, (row + 1, column)), (EAST, WEST, (row, column + 1))):
            if at not in nodes:
                continue
            other = nodes[at]
            for fabric in _FABRICS:
                wiring.connect(m, getattr(node, f"{fabric}_out")[there], getattr(other, f"{fabric}_in")[back])
                wiring.connect(m, getattr(other, f"{fabric}_out")[back], getattr(node, f"{fabric}_in")[there])
            m.d.comb += [other.control_in[back].eq(node.control_out[there]), node.control_in[there].eq(other.control_out[back])]


class Mesh(wiring.Component):
    """``rows`` x ``columns`` switch nodes; the links to the units and over the west and east edges are ports.

    Members (n = row * columns + column, k = local link): ``program[n]`` In; ``vector_in[n * local_links + k]``, ``scalar_in[n]``
    In(Link) from unit n, ``vector_out``, ``scalar_out`` Out(Link) to it; ``west_in[row]``, ``east_in[row]`` In(Link),
    ``west_out``, ``east_out`` Out(Link), of the vector fabric; ``control_in[n]`` In, ``control_out[n]`` Out. Edges north and
    south, and the scalar fabric's, are closed.
    """

    def __init__(self, rows: int, columns: int, config):
        self.rows, self.columns, self.config = rows, columns, config
        nodes, vector, scalar = rows * columns, vector_link(config), scalar_link(config)
        super().__init__({
            "program": In(switch_program(config)).array(nodes),
            "vector_in": In(vector).array(nodes * config.local_links),
            "vector_out": Out(vector).array(nodes * config.local_links),
            "scalar_in": In(scalar).array(nodes),
            "scalar_out": Out(scalar).array(nodes),
            "west_in": In(vector).array(rows),
            "west_out": Out(vector).array(rows),
            "east_in": In(vector).array(rows),
            "east_out": Out(vector).array(rows),
            "control_in": In(config.control_wires).array(nodes),
            "control_out": Out(config.control_wires).array(nodes),
        })

    def elaborate(self, platform):
        m = Module()
        nodes = {}
        for number in range(self.rows * self.columns):
            at = divmod(number, self.columns)
            nodes[at] = node = SwitchNode(self.config)
            m.submodules[f"node_{at[0]}_{at[1]}"] = instantiate(platform, node)
            if self.config.dynamic_slots:
                m.d.comb += [node.position.row.eq(at[0]), node.position.column.eq(at[1])]
            m.d.comb += [node.program.eq(self.program[number]), node.control_in[LOCAL].eq(self.control_in[number]),
                         self.control_out[number].eq(node.control_out[LOCAL])]
            self._join(m, node, "scalar", LOCAL, self.scalar_in[number], self.scalar_out[number])
            for k in range(self.config.local_links):
                local = number * self.config.local_links + k
                self._join(m, node, "vector", LOCAL + k, self.vector_in[local], self.vector_out[local])
        join_neighbours(m, nodes)
        for row in range(self.rows):
            self._join(m, nodes[row, 0], "vector", WEST, self.west_in[row], self.west_out[row])
            self._join(m, nodes[row, self.columns - 1], "vector", EAST, self.east_in[row], self.east_out[row])
        return m

    @staticmethod
    def _join(m: Module, node: SwitchNode, fabric: str, port: int, into, out) -> None:
        wiring.connect(m, getattr(node, f"{fabric}_in")[port], wiring.flipped(into))
        wiring.connect(m, getattr(node, f"{fabric}_out")[port], wiring.flipped(out))
