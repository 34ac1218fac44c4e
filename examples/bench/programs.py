"""The same programs four ways on the default model: interpreted, compiled, compiled and sent whole, plain HTTP calls.

    python examples/bench/programs.py [--rounds 5] [--json FILE]

One server and one engine in this process, both with an empty cache before each run; the ways take turns, and a ratio is
that of the medians. `plain` is what one writes without a frontend: whole prompts as text, branches in threads,
one connection a thread; an option is chosen as SGLang's frontend does it, by the log-probabilities of two calls.
Drafts are off: who comes later would profit from what those before have said.

Limits: compiled at most 0.9 and remote at most 0.85 of plain's time where a program forks, remote at most 1.0 where it
does not; remote computes the prompt tokens that nobody can spare, and at most one more a call (the row that is read);
100 us of the interpreter's own time a node; 1,000 programs at once on at most 8 threads. A way whose text is not that
of the plain calls is marked: what their tokens were, the text alone does not say, and other answers take other steps.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from command import run_main

import radixlang as sgl
from radixlang.lang.backend.base_backend import NativeBackend
from radixlang.runtime.messages import Outputs, Submit, Submits

MODEL = "smollm2-135m-instruct"
ESSAY = " ".join(f"In street {i} the trees give shade, clean the air and keep the houses cool." for i in range(12))
TOOLS = " ".join(f"Tool {name}(x): {told}." for name, told in [
    ("population", "how many people live in country x"), ("capital", "the capital of country x"),
    ("area", "the area of country x in square kilometres"), ("weather", "the weather in city x today"),
    ("rate", "what one euro is worth in currency x"), ("time", "the time in city x"),
] * 3)  # fmt: skip
GRADES = [" bad", " fair", " good"]
CALL = r"(population|capital|area)\((France|Italy|Japan)\)"


# -- the programs


@sgl.function
def multi_turn(s):
    s += ESSAY + "\n"
    for i, question in enumerate(["What is it about?", "Who gains?", "What does it cost?", "What is missing?"]):
        s += f"{question} The" + sgl.gen(f"a{i}", max_tokens=16, ignore_eos=True) + "\n"


@sgl.function
def tree_of_thought(s):
    s += ESSAY + "\nHow should a town pay for more trees?\n"
    for i, plan in enumerate(s.fork(3)):
        plan += f"Plan {i}:" + sgl.gen("plan", max_tokens=12, ignore_eos=True)
        for j, step in enumerate(plan.fork(2)):
            step += f"\nStep {j}:" + sgl.gen("step", max_tokens=12, ignore_eos=True)
            step += "\nThis step is" + sgl.select("score", GRADES)


@sgl.function
def judge_fork_join(s):
    s += "Essay: " + ESSAY + "\n"
    judges = s.fork(4)
    for what, judge in zip(["clarity", "depth", "style", "use"], judges, strict=True):
        judge += f"Its {what}:" + sgl.gen("note", max_tokens=8, ignore_eos=True) + "\nThe grade is"
        judge += sgl.select("grade", GRADES)
    judges.join()
    s["verdict"] = judges.vote("grade")
    s += "The essay is" + s["verdict"] + " because" + sgl.gen("why", max_tokens=12, ignore_eos=True)


@sgl.function
def agents(s):
    s += TOOLS + "\n"
    for country, agent in zip(["France", "Italy", "Japan"], s.fork(3), strict=True):
        for i in range(3):
            agent += f"\nTask {i} about {country}. Thought:" + sgl.gen(f"t{i}", max_tokens=8, ignore_eos=True)
            agent += "\nCall: " + sgl.gen(f"c{i}", regex=CALL, max_tokens=12) + " gave 42; sure: "
            agent += sgl.gen(f"ok{i}", regex="(yes|no)", max_tokens=3)


# -- the same by hand


class Plain:
    """Calls of one server, each with the whole text so far."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=120, limits=httpx.Limits(max_connections=64))
        self.pool = ThreadPoolExecutor(32)
        self.num_calls = 0

    def post(self, body: dict[str, Any]) -> Any:
        self.num_calls += 1
        return self.http.post("/generate", json=body).raise_for_status().json()

    def gen(self, text: str, max_tokens: int, **more: Any) -> str:
        sampling = {"max_new_tokens": max_tokens, "temperature": 0, **({} if more else {"ignore_eos": True}), **more}
        return text + self.post({"text": text, "sampling_params": sampling})["text"]

    def select(self, text: str, options: list[str]) -> str:
        nothing = {"max_new_tokens": 0, "temperature": 0}
        known = self.post({"text": text, "sampling_params": nothing})["meta_info"]["prompt_tokens"]
        asked = {"text": [text + o for o in options], "sampling_params": nothing, "return_logprob": True}
        scored = self.post({**asked, "logprob_start_len": max(known - 2, 0)})
        tokens = [[t[0] for t in one["meta_info"]["input_token_logprobs"][1:]] for one in scored]
        means = [sum(t) / len(t) for t in tokens]
        return options[means.index(max(means))]

    def each(self, work: Callable[..., Any], *values: Any) -> list[Any]:
        return list(self.pool.map(work, *values))

    def multi_turn(self) -> str:
        text = ESSAY + "\n"
        for question in ["What is it about?", "Who gains?", "What does it cost?", "What is missing?"]:
            text = self.gen(f"{text}{question} The", 16) + "\n"
        return text

    def tree_of_thought(self) -> str:
        text = ESSAY + "\nHow should a town pay for more trees?\n"

        def step(plan: str, j: int) -> str:
            return self.select(self.gen(f"{plan}\nStep {j}:", 12) + "\nThis step is", GRADES)

        def plan(i: int) -> None:
            made = self.gen(f"{text}Plan {i}:", 12)
            self.each(lambda j: step(made, j), range(2))

        self.each(plan, range(3))
        return text

    def judge_fork_join(self) -> str:
        text = "Essay: " + ESSAY + "\n"

        def judge(what: str) -> str:
            return self.select(self.gen(f"{text}Its {what}:", 8) + "\nThe grade is", GRADES)

        grades = self.each(judge, ["clarity", "depth", "style", "use"])
        return self.gen(f"{text}The essay is{max(grades, key=grades.count)} because", 12)

    def agents(self) -> str:
        tools = TOOLS + "\n"

        def agent(country: str) -> None:
            text = tools
            for i in range(3):
                text = self.gen(f"{text}\nTask {i} about {country}. Thought:", 8)
                text = self.gen(text + "\nCall: ", 12, regex=CALL) + " gave 42; sure: "
                text = self.gen(text, 3, regex="(yes|no)")

        self.each(agent, ["France", "Italy", "Japan"])
        return tools


# -- measuring


class Watch:
    """The ids of all prompts of an engine in this process while it watches, and which of them decoding computed."""

    def __init__(self, engine: sgl.Engine) -> None:
        self.engine = engine
        self.paths: dict[str, list[int]] = {}
        self.kept: dict[str, str] = {}
        self.prompts: dict[str, int] = {}
        self.send, self.receive = engine.front.link.send, engine.front.receive

    def __enter__(self) -> Watch:
        front = self.engine.front
        front.link.send, front.receive = self._sent, self._received  # type: ignore[method-assign]
        return self

    def __exit__(self, *exc: object) -> None:
        front = self.engine.front
        front.link.send, front.receive = self.send, self.receive  # type: ignore[method-assign]

    def _sent(self, message: Any) -> None:
        for submit in message.items if isinstance(message, Submits) else [message]:
            if isinstance(submit, Submit):
                self._submitted(submit)
        self.send(message)

    def _submitted(self, message: Submit) -> None:
        before = self.paths[self.kept[message.parent]][: message.parent_len] if message.parent else []
        self.paths[message.rid] = [*before, *message.token_ids]
        self.prompts[message.rid] = len(self.paths[message.rid])
        if message.keep:
            self.kept[message.keep] = message.rid

    def _received(self, message: Any) -> None:
        for output in message.items if isinstance(message, Outputs) else ():
            if output.rid in self.paths:
                self.paths[output.rid] += output.token_ids
        self.receive(message)

    def unavoidable(self) -> int:
        """Prompt tokens that somebody must compute: each prefix once, those that decoding computes not at all."""
        prompts, decoded = set[int](), set[int]()
        for rid, ids in self.paths.items():
            prefix, length = 0, self.prompts[rid]
            for place, token in enumerate(ids):
                prefix = hash((prefix, token))
                if place < length:
                    prompts.add(prefix)
                elif place < len(ids) - 1:  # nothing was computed of the last one
                    decoded.add(prefix)
        return len(prompts - decoded)


def finish(state: Any) -> Any:
    for stream in state.stream_executor.run.streams():
        stream.sync()
    assert state.error() is None, state.error()
    return state


def compare(name: str, engine: sgl.Engine, server: sgl.RuntimeEndpoint, plain: Plain, rounds: int) -> dict[str, Any]:
    """Times, round trips, steps and prefilled tokens of one program; and the text that each way gave."""
    program = globals()[name]
    compiled = program.compile(mode="graph")
    ways: dict[str, tuple[Any, Callable[[], tuple[int, str]]]] = {
        "interpreted": (engine, lambda: told(program.run(temperature=0, backend=engine))),
        "compiled": (engine, lambda: told(compiled.run(temperature=0, backend=engine))),
        "http": (server, lambda: told(compiled.run(temperature=0, backend=server))),
        "remote": (server, lambda: told(compiled.run(temperature=0, backend=server, remote=True))),
        "plain": (server, lambda: told_of(plain, name)),
    }
    found: dict[str, Any] = {way: {"seconds": []} for way in ways}
    for turn in range(rounds + 1):
        for way, (backend, run) in ways.items():
            backend.flush_cache()
            before = stats(backend)
            begun = time.perf_counter()
            trips, text = run()
            seconds = time.perf_counter() - begun
            after = stats(backend)
            prefilled = after["prompt_tokens_total"] - before["prompt_tokens_total"]
            prefilled -= after["cached_tokens_total"] - before["cached_tokens_total"]
            found[way].update(round_trips=trips, prefilled=prefilled, text=text)
            found[way]["steps"] = after["num_steps"] - before["num_steps"]
            if turn:  # the first warms up
                found[way]["seconds"].append(seconds)
    for way in ways:
        found[way]["median_s"] = statistics.median(found[way]["seconds"])
        found[way]["best_s"] = min(found[way]["seconds"])
    return found


def told(state: Any) -> tuple[int, str]:
    """Round trips and text."""
    return finish(state).usage.round_trips, state.text()


def told_of(plain: Plain, name: str) -> tuple[int, str]:
    before = plain.num_calls
    text = getattr(plain, name)()
    return plain.num_calls - before, text


def stats(backend: Any) -> dict[str, Any]:
    return backend.get_server_info()["internal_states"][0]


class Echo(NativeBackend):
    """No model: answers at once."""

    async def native_generate(self, request):
        meta = {"finish_reason": {"type": "length", "length": 1}, "prompt_tokens": 1, "completion_tokens": 1}
        yield {"text": "x", "output_ids": [1], "meta_info": meta}

    async def native_model_info(self):
        return {"model_path": "echo", "eos_token_ids": [0]}

    async def native_abort(self, rid):
        pass


def overhead_us(nodes: int = 2000) -> dict[str, float]:
    """CPU time of the whole process for a node of a program, a text and a gen being two."""

    @sgl.function
    def long(s):
        for i in range(nodes // 2):
            s += "text" + sgl.gen(f"v{i}", max_tokens=1)

    compiled = long.compile(mode="graph")
    backend = Echo()
    found: dict[str, float] = {}
    for way, run in (("interpreted", long.run), ("compiled", compiled.run)):
        best = float("inf")
        for _ in range(5):
            begun = time.process_time()
            run(backend=backend).text()
            best = min(best, time.process_time() - begun)
        found[way] = best / nodes * 1e6
    return found


def batch_threads(num: int = 1000) -> tuple[int, float]:
    """Threads that `num` programs at once add, and their CPU seconds."""

    @sgl.function
    def two(s, q):
        s += q + sgl.gen("a", max_tokens=1)
        s += s["a"] + sgl.gen("b", max_tokens=1)

    before, most = threading.active_count(), 0
    begun = time.process_time()
    for _, state in two.run_batch([{"q": str(i)} for i in range(num)], backend=Echo(), as_completed=True):
        most = max(most, threading.active_count())
        assert state["b"] == "x"
    return most - before, time.process_time() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--port", type=int, default=31359)
    parser.add_argument("--json", help="write what was measured to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the server must not outlive us
    costs = overhead_us()
    threads, seconds = batch_threads()
    print(f"interpreter: {costs['interpreted']:.0f} us a node, compiled {costs['compiled']:.0f} us (limit 100)")
    print(f"1,000 programs at once: {threads} threads more (limit 8), {seconds:.2f} s of CPU")
    broken = [costs["interpreted"] > 100, threads > 8]
    results: dict[str, Any] = {"overhead_us": costs, "batch_threads": threads}
    engine = sgl.Engine(model_path=options.model, speculative_algorithm="none")
    runtime = sgl.Runtime(model_path=options.model, port=options.port, speculative_algorithm="none")
    try:
        server, plain = runtime.endpoint, Plain(runtime.url)
        print(f"\n{'program':18}{'way':13}{'seconds':>9}{'of plain':>10}{'trips':>7}{'steps':>7}{'prefilled':>11}")
        for name in ("multi_turn", "tree_of_thought", "judge_fork_join", "agents"):
            engine.flush_cache()
            with Watch(engine) as watch:
                finish(globals()[name].compile(mode="graph").run(temperature=0, backend=engine, remote=True))
            least, calls = watch.unavoidable(), len(watch.paths)
            found = compare(name, engine, server, plain, options.rounds)
            base, said = found["plain"]["median_s"], found["plain"]["text"]
            for way, one in found.items():
                ratio = one["median_s"] / base
                counts = f"{one['round_trips']:7}{one['steps']:7}{one['prefilled']:11}"
                same = "" if one.pop("text") == said else "  (another text)"
                print(f"{name:18}{way:13}{one['median_s']:9.3f}{ratio:10.2f}{counts}{same}")
            print(f"{name:18}unavoidable {least:48} (and a row read for each of {calls} calls)")
            results[name] = {**found, "unavoidable": least, "calls": calls}
            broken.append(found["remote"]["prefilled"] > least + calls)
            limits = {"remote": 1.0} if name == "multi_turn" else {"compiled": 0.9, "remote": 0.85}
            broken += [found[way]["median_s"] > limit * base for way, limit in limits.items()]
    finally:
        runtime.shutdown()
        engine.shutdown()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    print(f"{sum(broken)} of {len(broken)} limits broken")
    return 1 if any(broken) else 0


if __name__ == "__main__":
    run_main(main)
