"""ONNX's Attention (opset 23) and RotaryEmbedding, as exporters write them out: scores, mask, softmax, product."""

from __future__ import annotations

from math import sqrt

from ..graph.emit import Emitter
from ..graph.ir import Function
from .lower_reduce import softmax
from .operators import Call, lowers

__all__: list[str] = []


def _heads(e: Emitter, x: str, heads: int) -> str:
    """[B, S, heads * D] or [B, heads, S, D] to the latter."""
    shape = e.shape(x)
    if len(shape) == 4:
        return x
    return e.transpose(e.reshape(x, (*shape[:2], heads, shape[2] // heads)), (0, 2, 1, 3))


@lowers("Attention")
def _attention(e: Emitter, call: Call) -> list[str]:
    if len(call.node.outputs) == 4 or call.get("qk_matmul_output_mode", 0) or call.has(6):
        raise call.error("the scores as output, and lengths of padded keys, are not there")
    three = len(call.shape(0)) == 3
    with e.composite("attention"):
        q = _heads(e, call[0], call.get("q_num_heads", 0))
        k, v = (_heads(e, call[number], call.get("kv_num_heads", 0)) for number in (1, 2))
        past = 0
        if call.has(4):
            past = call.shape(4)[2]
            k, v = e.concat([call[4], k], 2), e.concat([call[5], v], 2)
        present = [k, v]
        batch, heads, length, width = e.shape(q)
        if e.shape(k)[1] != heads:                     # grouped queries: each key head serves several
            groups = heads // e.shape(k)[1]
            k, v = (e.reshape(e.expand(e.reshape(x, (*e.shape(x)[:2], 1, *e.shape(x)[2:])),
                                       (*e.shape(x)[:2], groups, *e.shape(x)[2:])), (batch, heads, *e.shape(x)[2:]))
                    for x in (k, v))
        scores = _scores(e, call, q, k, past, call.get("scale") or 1 / sqrt(width))
        result = e.matmul(softmax(e, scores), v)
    if three:
        result = e.reshape(e.transpose(result, (0, 2, 1, 3)), (batch, length, heads * e.shape(v)[3]))
    return [result, *present]


def _scores(e: Emitter, call: Call, q: str, k: str, past: int, scale: float) -> str:
    causal, cap = call.get("is_causal", 0), call.get("softcap", 0.0)
    mask = [call[3]] if call.has(3) else []
    if mask and e.shape(mask[0])[-1] != e.shape(k)[2]:
        raise call.error("a mask shorter than the keys is not there")
    truth = bool(mask) and not e.dtype(mask[0]).is_float

    def step(x, *masks):
        x = x * scale
        if cap:
            x = (x * (1 / cap)).apply(Function.TANH) * cap
        if truth:
            x = masks[0].select(x, float("-inf"))
        elif masks:
            x = x + masks[0]
        return (x.index(3) <= x.index(2) + past).select(x, float("-inf")) if causal else x

    return e.map(step, e.matmul(q, e.swap(k)), *mask)


@lowers("RotaryEmbedding")
def _rotary(e: Emitter, call: Call) -> str:
    x, three = call[0], len(call.shape(0)) == 3
    heads = _heads(e, x, call.get("num_heads", 0))
    batch, count, length, width = e.shape(heads)
    turned = call.get("rotary_embedding_dim", 0) or width
    half = turned // 2
    cosine, sine = call[1], call[2]
    if call.has(3):
        cosine, sine = e.gather(cosine, call[3]), e.gather(sine, call[3])
    cosine, sine = (e.reshape(e.slice(table, -1, 0, half), (e.shape(table)[0], 1, length, half)) for table in (cosine, sine))
    interleaved = call.get("interleaved", 0)
    with e.composite("rotary"):
        first, second = ((e.slice(heads, 3, start, half, 2 if interleaved else 1)) for start in (0, 1 if interleaved else half))
        real = e.map(lambda a, b, c, s: a * c - b * s, first, second, cosine, sine, dtype=e.dtype(x))
        imaginary = e.map(lambda a, b, c, s: a * s + b * c, first, second, cosine, sine, dtype=e.dtype(x))
        if interleaved:
            pairs = e.concat([e.reshape(part, (*e.shape(part), 1)) for part in (real, imaginary)], 4)
            result = e.reshape(pairs, (batch, count, length, turned))
        else:
            result = e.concat([real, imaginary], 3)
        if turned < width:
            result = e.concat([result, e.slice(heads, 3, turned, width - turned)], 3)
    return e.reshape(e.transpose(result, (0, 2, 1, 3)), call.shape(0)) if three else result


