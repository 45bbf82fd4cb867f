"""What a user may do wrong with `rdu coe-llm` and `rdu chat`: one line, exit code 1, before any simulator is built."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

from coe_app.llm import main, report
from coe_app.llm.weights import load_prompts
from sw_driver import cli


class Bytes(io.TextIOWrapper):
    """Standard input with these bytes, not a terminal."""

    def __init__(self, content: bytes):
        super().__init__(io.BytesIO(content))


@pytest.fixture(autouse=True)
def no_simulator(monkeypatch):
    import sim.device
    monkeypatch.setattr(sim.device, "open_backend", lambda *_: pytest.fail("a simulator was opened"))


@pytest.mark.parametrize(("arguments", "text"), [
    (["coe-llm", "--preset", "tiny"], "grid of 4x4"),
    (["coe-llm", "--prompts", "nowhere.txt"], "nowhere.txt"),
    (["coe-llm", "--requests", "25"], "requests=25 must be from 1 to 24"),
    (["coe-llm", "--tokens", "0"], "tokens=0 must be from 1 to 127"),
    (["coe-llm", "--tokens", "128"], "tokens=128"),
    (["coe-llm", "--batch", "5"], "batch=5 must be from 1 to 4"),
    (["coe-llm", "--temperature", "-1"], "temperature=-1.0"),
    (["coe-llm", "--temperature", "nan"], "temperature=nan"),
    (["coe-llm", "--experts", "0"], "resident=4 must be from 1 to the number of experts, 0"),
    (["coe-llm", "--resident", "9"], "resident=9"),
    (["coe-llm", "--look-ahead", "--resident", "1"], "look_ahead=True needs resident >= 2"),
    (["coe-llm", "--launch", "xo"], "launch='xo' must be so or ho"),
    (["coe", "--report", "a.html", "--resident", "0"], "resident=0"),
    (["chat", "--tokens", "0"], "tokens=0"),
    (["chat", "--preset", "tiny"], "grid of 4x4"),
])
def test_bad_options(capsys, monkeypatch, tmp_path, arguments, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rdu", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr()
    assert end.value.code == 1 and shown.err.count("\n") == 1 and shown.err.startswith("rdu: ") and text in shown.err
    assert not list(tmp_path.iterdir())


def test_prompts_from_standard_input_may_be_any_bytes(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Bytes(b"def f(\n\n  \n\xff\x00x\nlast"))
    assert [prompt.text for prompt in main.read_prompts("-", None)] == [b"def f(", b"\xff\x00x", b"last"]
    monkeypatch.setattr(sys, "stdin", Bytes(b"\n"))
    with pytest.raises(main.RequestError, match="no prompts in -"):
        main.read_prompts("-", None)


def test_prompt_files(tmp_path):
    path = tmp_path / "p.json"
    for text in ("{", "{}", "[1]", '[{"domain": "x"}]', '[{"text": 5}]'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"p\.json: expected a JSON list|no prompts in"):
            main.read_prompts(str(path), None)
    path = tmp_path / "p.txt"
    path.write_bytes(b"a\n\n\xe9\n")
    assert [prompt.text for prompt in load_prompts(path)] == [b"a", b"\xe9"]


def test_chat_ends_with_its_input(monkeypatch):
    class Terminal:
        def __init__(self):
            self.answers = ["", "hello"]

        def input(self, _):
            if not self.answers:
                raise EOFError
            return self.answers.pop(0)

    monkeypatch.setattr(sys, "stdin", type("Tty", (), {"isatty": lambda _: True})())
    assert list(main._lines(Terminal())) == [b"", b"hello"]


class Interrupted:
    """A server and its device: one answer, then Ctrl-C."""

    cycles, hardware, look_ahead, experts, image_bytes = 90, True, False, [None] * 8, 32
    backend = SimpleNamespace(cycles_per_second=1.0)
    cache = SimpleNamespace(resident=[0], hit_rate=0.0)
    router = SimpleNamespace(classes=8, accuracy=0.8)

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def serve(self, prompts, *, tokens, stream=None, **_):
        reply = main.Reply(0, prompts[0].text, "", 0, "python", False, text=b"ab", cycles=dict.fromkeys(main.PHASES, 10))
        if stream:
            stream(reply, ord("a"))
        else:
            yield reply
        raise KeyboardInterrupt


@pytest.mark.parametrize("command", ["coe-llm", "chat"])
def test_ctrl_c_ends_in_one_line_and_keeps_what_was_answered(capsys, monkeypatch, tmp_path, command):
    import sim.device
    monkeypatch.setattr(sim.device, "open_backend", lambda *_: None)
    for name in ("Device", "LanguageServer"):
        monkeypatch.setattr(main, name, Interrupted)
    monkeypatch.setattr(sys, "stdin", Bytes(b"def f(\nnever served\n"))
    if command == "chat":
        stdout = Bytes(b"")
        monkeypatch.setattr(sys, "stdout", stdout)
    path = tmp_path / "a.json"
    monkeypatch.setattr(sys, "argv", ["rdu", command, *([] if command == "chat" else ["--prompts", "-", "--json", str(path)])])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130 and capsys.readouterr().err == "rdu: interrupted\n"
    if command == "chat":
        stdout.flush()
        assert stdout.buffer.getvalue() == b"a\n"
    else:
        values = json.loads(path.read_text())
        assert values["interrupted"] and [request["text"] for request in values["requests"]] == ["ab"]


def test_report_draws_the_published_curve(tmp_path, monkeypatch):
    parts = {"router": 1.0, "switch": 2.0, "prefill": 3.0, "decode": 4.0}
    rows = [{"metric": f"latency_{phase}", "case": f"experts={number}", "value": value, "unit": ""}
            for number in (16, 150) for phase, value in parts.items()]
    path = tmp_path / "coe_llm.json"
    path.write_text(json.dumps({"metrics": [*rows, {"metric": "cycles", "case": "fcfs", "value": 5, "unit": ""}]}))
    assert report.measured_sweep(path) == {16: parts, 150: parts}
    assert report.measured_sweep(tmp_path / "none.json") == {}
    assert sorted(report.measured_sweep()) == [1, 4, 8, 16, 32, 64, 100, 150]
    request = {"index": 0, "name": "cpp", "perturbed": True, "hit": False, "error": "", "bit_exact": True, "prompt": "<b>", "text": "&",
               "cycles": {phase: 5 for phase in parts}}
    values = dict.fromkeys(("preset", "launch", "experts", "resident", "bit_exact", "failed", "router_accuracy", "router_held_out_accuracy",
                            "hit_rate", "decode_tokens_per_megacycle", "decode_share_of_hbm_roofline", "switch_share_of_ddr_peak"))
    report.write_report(tmp_path / "r.html", values | {
        "cycles": 5, "requests": [request], "held_out": {"names": ["a", "b"], "nats": [[1.0, 2.0], [2.0, 1.0]]}})
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/png") == 3 and "&lt;b&gt;<b class=new>&amp;</b>" in page and "not measured" in page
