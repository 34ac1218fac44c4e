"""A tokenizer of bytes and an engine link that answers by a script: the front's tests need no model."""

import asyncio

import pytest

from radixlang.runtime.front import Front
from radixlang.runtime.messages import Abort, Control, Finish, Output, Outputs, Reply, Submit, Submits, TokenLogprobs

EOS, BOS, MERGED = 256, 257, 258


class ByteDetokenizer:
    def __init__(self):
        self.held = b""

    def push(self, token_ids):
        self.held += b"".join(b"is" if t == MERGED else bytes([t]) for t in token_ids if t not in (EOS, BOS))
        for cut in range(len(self.held), max(-1, len(self.held) - 4), -1):
            try:
                text = self.held[:cut].decode()
            except UnicodeDecodeError:
                continue
            self.held = self.held[cut:]
            return text
        return ""

    @property
    def holds(self):
        return bool(self.held)

    def flush(self):
        text, self.held = self.held.decode(errors="replace"), b""
        return text


class ByteTokenizer:
    """One id a byte; "is" is one token (258) as well, so that text can merge across a boundary."""

    vocab_size = 259
    eos_token_ids = frozenset({EOS})
    bos_token_id = BOS
    adds_bos = False
    special_token_ids = frozenset({EOS, BOS})
    chat_template = None
    digest = "bytes"
    is_byte_exact = True

    def encode(self, text, *, add_bos=True):
        first, *others = text.encode().split(b"is")
        ids = list(first)
        for other in others:
            ids += [MERGED, *other]
        return ids

    def encode_continuation(self, text):
        return self.encode(text)

    def decode(self, token_ids, *, skip_special_tokens=True):
        detokenizer = ByteDetokenizer()
        return detokenizer.push(token_ids) + detokenizer.flush()

    def detokenizer(self, *, skip_special_tokens=True):
        return ByteDetokenizer()

    def token_bytes(self, token_id):
        return {EOS: b"</s>", BOS: b"<s>", MERGED: b"is"}.get(token_id) or bytes([token_id])

    def token_text(self, token_id):
        return self.token_bytes(token_id).decode(errors="replace")


class ScriptedEngine:
    """Answers a Submit with the bytes of `reply`, one token a message; remembers what it was sent."""

    def __init__(self, reply=b"ok", finish=None, stall=False, passes=0):
        """passes: of the loop, before each message."""
        self.reply, self.finish, self.stall, self.sent, self.front = reply, finish, stall, [], None
        self.passes = passes

    def send(self, message):
        self.sent.append(message)
        loop = asyncio.get_running_loop()
        if isinstance(message, Control):
            told = {"success": True}
            if message.action in ("load_adapter", "unload_adapter"):  # as an engine without adapters
                param = "lora_path" if message.action == "load_adapter" else "lora_name"
                told = {"success": False, "error": "adapters are not served", "param": param, "code": None}
            loop.call_soon(self.front.receive, Reply(id=message.id, data=told))
        elif isinstance(message, Submits):
            self.sent.pop()
            for submit in message.items:
                self.send(submit)
        elif isinstance(message, Submit) and not self.stall:
            if self.passes:
                self.tell(loop, self.outputs(message), self.passes)
                return
            for output in self.outputs(message):
                loop.call_soon(self.front.receive, Outputs(items=[output]))

    def tell(self, loop, outputs, passes):
        if passes:
            loop.call_soon(self.tell, loop, outputs, passes - 1)
            return
        self.front.receive(Outputs(items=outputs[:1]))
        if outputs[1:]:
            self.tell(loop, outputs[1:], self.passes)

    def outputs(self, submit):
        length, wanted = len(submit.token_ids), submit.logprobs
        if self.finish is not None and self.finish.type == "error":
            return [Output(rid=submit.rid, token_ids=[], finish=self.finish)]
        scored = []
        if wanted is not None and wanted.prompt_start >= 0:
            scored = [
                TokenLogprobs(-float(position) if position else None, submit.token_ids[position])
                for position in range(wanted.prompt_start, length)
            ]
        ids = list(self.reply)[: submit.sampling.max_new_tokens]
        end = self.finish or Finish(type="length", length=len(ids))
        if not ids:
            output = Output(rid=submit.rid, token_ids=[], prompt_len=length, prompt_logprobs=scored, finish=end)
            if wanted is not None and wanted.output:
                asked = [-float(length) for _ in wanted.token_ids]
                output.logprobs = [TokenLogprobs(-float(length), EOS, asked=asked)]
            return [output]
        last = len(ids) - 1
        return [
            Output(
                rid=submit.rid,
                token_ids=[token],
                prompt_len=length,
                prompt_logprobs=scored if at == 0 else [],
                finish=end if at == last else None,
            )
            for at, token in enumerate(ids)
        ]

    @property
    def aborted(self):
        return [m.rid for m in self.sent if isinstance(m, Abort)]


@pytest.fixture
def byte_tokenizer():
    return ByteTokenizer()


@pytest.fixture
def make_front(byte_tokenizer):
    def make(**script):
        engine = ScriptedEngine(**script)
        front = Front(engine, byte_tokenizer, {"vocab_size": 259, "chat_template": None})
        engine.front = front
        return front, engine

    return make
