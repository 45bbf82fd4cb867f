"""A MAP that only adds a vector of features to a product's result becomes the product's bias.

The sum then starts from the bias instead of ending with it: a rounding in another order, and no pass over the result.
"""

from __future__ import annotations

from dataclasses import replace

from ..graph.ir import Core, DType, Function, Graph, Node, Tensor

__all__ = ["fold_biases"]


def fold_biases(graph: Graph) -> Graph:
    """Looks through views between the product and the addition that keep the features last."""
    users, producers = graph.users(), graph.producers()
    changed: dict[str, Node] = {}
    behind: dict[str, str] = {}          # a sum that is now a view -> the tensor that it views
    gone: set[str] = set()
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        found = _biased(graph, node, users, producers)
        if found is None:
            continue
        product, last, bias = found
        if len(graph[bias].shape) != 1:
            flat = graph[bias].value.reshape(-1)
            bias = f"{bias}.bias"
            tensors[bias] = Tensor(bias, flat.shape, DType.of(flat), flat)
        changed[product.name] = replace(product, inputs=(*product.inputs, bias))
        changed[last.name] = replace(changed.get(last.name, last), outputs=(node.output,))
        if last is not product:
            behind[node.output] = product.output
        gone.add(node.name)
    kept = (changed.get(node.name, node) for node in graph.nodes if node.name not in gone)
    return graph.with_nodes([replace(node, inputs=tuple(behind.get(name, name) for name in node.inputs)) if node.op is Core.VIEW else node
                             for node in kept], tensors)


def _biased(graph: Graph, node: Node, users: dict[str, list[Node]], producers: dict[str, Node],
            ) -> tuple[Node, Node, str] | None:
    """The product, the last node before the addition (the product, or a view of it), and the bias."""
    if node.op is not Core.MAP or [step.function for step in node.attributes.steps] != [Function.FADD] or len(node.inputs) != 2:
        return None
    for bias, x in (node.inputs, node.inputs[::-1]):
        shape = graph[node.output].shape
        features = graph[bias].shape[-1:] or (1,)
        if not graph[bias].is_constant or graph[bias].elements != features[0] or features != shape[-1:]:
            continue
        source = producers.get(x)
        if source is None or graph[x].shape != shape:
            continue
        product = source if source.op is Core.MATMUL else producers.get(source.inputs[0]) if source.op is Core.VIEW else None
        between = [x] if source is product else [x, source.inputs[0]]
        if (product is None or product.op is not Core.MATMUL or len(product.inputs) == 3
                or any(len(users[name]) != 1 or name in graph.outputs for name in between)
                or any(graph[name].dtype is not graph[node.output].dtype for name in between)):
            continue
        if source is not product and not (source.attributes.is_contiguous and graph[product.output].shape[-1:] == shape[-1:]
                                          and graph[product.output].elements == graph[x].elements):
            continue
        return product, source, bias
    return None
