"""Every exception that radixlang raises on purpose.

RadixlangError                     .status (HTTP), .param, .code: what an API tells its client
├─ ConfigError                     400  an option cannot be
├─ ProgramError                    400  a program failed; also KeyError and RuntimeError, as SGLang's programs catch
│  ├─ UndefinedVariable                 s["x"] before gen("x")
│  ├─ TraceError                        cannot be compiled: where
│  ├─ ProgramTimeout                    its deadline passed
│  ├─ Cancelled                         its user cancelled it
│  └─ BudgetExceeded                    its budget is spent
├─ GrammarError                    400
│  ├─ GrammarSyntaxError                line, column, caret
│  ├─ UnsupportedGrammar                keyword and JSON pointer
│  ├─ UnsatisfiableGrammar              nothing fits
│  └─ GrammarTooLarge                   compile limits (time, memory, states)
├─ RequestError                    400
│  ├─ PromptTooLong                     tokens found, tokens allowed
│  ├─ InvalidSampling                   name, value, range
│  ├─ UnsupportedContent                an image for a text model
│  └─ ModelNotFound                404
├─ OverloadedError                 429 or 503, with Retry-After
├─ ModelError                      500
│  ├─ UnsupportedModel             400  says which architectures are
│  │  └─ NativeUnavailable              the native CPU step is not built here, and why
│  ├─ BadCheckpoint                400  a file that lies or is cut: file, tensor, what to do
│  ├─ BadAdapter                   400  a LoRA adapter that is damaged, or not for this model: file, tensor, what to do
│  └─ WeightMismatch               500  name, shape wanted, shape found
├─ EngineDead                      503  with the worker's own traceback
├─ Aborted                         499  by the client, a deadline or shutdown
└─ InternalError                   500  "a bug in radixlang, please report"
"""

from __future__ import annotations


class RadixlangError(Exception):
    """Base of all. `status`: HTTP status; `param`: JSON path of the offending field; `code`: machine-readable."""

    status = 500
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    def __str__(self) -> str:  # KeyError would print the repr of a program error's message
        return self.message


class ConfigError(RadixlangError):
    """An option cannot be."""

    status = 400


class ProgramError(RadixlangError, KeyError, RuntimeError):
    """A program failed. `__cause__` is the original; `where` is file:line of the expression that failed."""

    status = 400

    def __init__(self, message: str, *, where: str | None = None, param: str | None = None) -> None:
        super().__init__(f"{message} (at {where})" if where else message, param=param)
        self.where = where


class UndefinedVariable(ProgramError):
    """A variable that no gen, select or assignment of the program defines."""


class TraceError(ProgramError):
    """A program that cannot be traced past `where`."""


class ProgramTimeout(ProgramError):
    """The program's deadline passed."""


class Cancelled(ProgramError):
    """The program was cancelled by its user."""


class BudgetExceeded(ProgramError):
    """The program spent its budget."""


class GrammarError(RadixlangError):
    """A constraint that cannot be obeyed exactly."""

    status = 400
    code = "invalid_schema"


class GrammarSyntaxError(GrammarError):
    """A grammar, regex or schema that is not well formed; `line`, `column` from 1 where known."""

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.line = line
        self.column = column


class UnsupportedGrammar(GrammarError):
    """Well formed, but not served exactly: `keyword` and JSON `pointer` say where; the message says what to do."""

    code = "unsupported_schema"

    def __init__(
        self,
        message: str,
        *,
        keyword: str | None = None,
        pointer: str | None = None,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.keyword = keyword
        self.pointer = pointer


class UnsatisfiableGrammar(UnsupportedGrammar):
    """Nothing can satisfy the constraint."""

    code = "unsatisfiable_schema"


class GrammarTooLarge(UnsupportedGrammar):
    """Above the compile limits."""

    code = "grammar_too_large"


class RequestError(RadixlangError):
    """The request is wrong; the client can mend it."""

    status = 400


class PromptTooLong(RequestError):
    """The prompt does not fit the context or the KV pool."""

    code = "context_length_exceeded"

    def __init__(self, num_tokens: int, max_tokens: int, *, param: str | None = None) -> None:
        super().__init__(
            f"This model's maximum context length is {max_tokens} tokens; the prompt and the tokens to generate need "
            f"{num_tokens}. Shorten the prompt or lower max_tokens.",
            param=param,
        )
        self.num_tokens = num_tokens
        self.max_tokens = max_tokens


class InvalidSampling(RequestError):
    """A sampling parameter out of range: `param` names it."""


class UnsupportedContent(RequestError):
    """Content that the model cannot take, such as an image on a text model."""

    code = "unsupported_content"


class ModelNotFound(RequestError):
    """No model, adapter or file of that name."""

    status = 404
    code = "model_not_found"


class OverloadedError(RadixlangError):
    """The queue is full (429), or the server is starting or draining (503). `retry_after_s`: seconds."""

    status = 503

    def __init__(self, message: str, *, status: int = 503, code: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retry_after_s = retry_after_s


class ModelError(RadixlangError):
    """The model cannot be loaded or run."""


class UnsupportedModel(ModelError):
    """An architecture, tensor type or quantisation that no executor here runs."""

    status = 400


class NativeUnavailable(UnsupportedModel):
    """The native CPU step cannot be loaded on this machine; torch can run the model instead."""


class BadCheckpoint(ModelError):
    """A model file that is cut, lies about itself or holds what must not be loaded."""

    status = 400


class BadAdapter(ModelError):
    """A LoRA adapter that is damaged, does not fit the model, or asks for more than a low-rank sum."""

    status = 400
    code = "bad_adapter"


class WeightMismatch(ModelError):
    """A tensor whose shape is not what the config says."""


class EngineDead(RadixlangError):
    """The engine process is gone; requests in flight are answered with this."""

    status = 503
    code = "engine_dead"


class Aborted(RadixlangError):
    """Aborted by the client, a deadline or shutdown."""

    status = 499
    code = "aborted"


class InternalError(RadixlangError):
    """A belief about our own code broke; a bug in radixlang, please report it."""

    code = "internal_error"
