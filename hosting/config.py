"""Configuration: TOML checked by a pydantic model, overridden by the environment, secrets from files. Floor: hosting.

Each mistake gets a `ConfigFault` that names the key, the line where it stands and the nearest key that exists, since
the person who made it is on the phone. Nothing is half-applied: the whole file holds, or the process does not start.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from gridmodel.fault import Fault
from hosting.files import read_private, read_text

ENVIRONMENT_PREFIX = "TARMOQ_"
"""`TARMOQ_HUB__URL` overrides `url` in `[hub]`; two underscores descend one level."""
ENVIRONMENT_RESERVED = frozenset({"TARMOQ_CLOCK"})
"""Variables of other modules that share the prefix."""
CONFIG_SIZE_BYTES_MAX = 1024 * 1024
"""A configuration is kilobytes; more is the wrong file."""
SECRET_SIZE_BYTES_MAX = 4096
"""Passwords and tokens are short; more is the wrong file."""
MISTAKES_SHOWN_MAX = 5
"""Mistakes named in one fault: a screenful."""


class ConfigFault(Fault):
    """A configuration that cannot be used. `key` is its dotted place or empty, `line` counts from 1 or is None."""

    def __init__(self, code: str, what: str, hint: str, *, key: str = "", line: int | None = None) -> None:
        super().__init__(code, what, hint)
        self.key = key
        self.line = line


class ConfigModel(BaseModel):
    """Base of every section: unknown keys are mistakes, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None else Path(folder) / path.expanduser()


LocalPath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path in a configuration: relative to the file that names it, not to where the process was started."""


def load_toml(path: Path, model: type[M], environ: Mapping[str, str]) -> M:
    """Read and check `path`, with overrides from `environ`.

    Raises `ConfigFault`: ``TQ-CF-01`` missing or unreadable, ``TQ-CF-02`` not TOML, ``TQ-CF-03`` unknown key,
    ``TQ-CF-04`` missing key, ``TQ-CF-05`` a value that does not fit, ``TQ-CF-06`` a variable that fits nowhere.
    """
    text = _text_of(path)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside its own: a number of 5,000 digits, a nest without end
        found = re.search(r"line (\d+)", str(error))  # absent when the file breaks off at its end
        raise ConfigFault(
            "TQ-CF-02",
            f"{path} is not TOML: {error}",
            "texts need quotes, keys need =, tables need [brackets]",
            line=int(found[1]) if found else len(text.splitlines()),
        ) from error
    overridden = _override(data, model, environ)
    try:
        return model.model_validate(data, context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise _fault_of(error, path, text, model, overridden) from error


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a configuration, for editors and for the reference pages."""
    return model.model_json_schema()


def read_secret(path: Path) -> str:
    """The secret that a file holds, without its line end.

    Raises `ConfigFault` ``TQ-CF-07`` when it is missing, readable by others, empty or far too long.
    """
    try:
        secret = read_private(path, SECRET_SIZE_BYTES_MAX).decode("utf-8").strip("\r\n")
    except (OSError, ValueError) as error:
        raise ConfigFault(
            "TQ-CF-07", f"the secret file {path} cannot be used: {error}", f"write it, then: chmod 600 {path}"
        ) from error
    if not secret:
        raise ConfigFault("TQ-CF-07", f"the secret file {path} is empty", "write the secret into it")
    return secret


def _text_of(path: Path) -> str:
    try:
        return read_text(path, CONFIG_SIZE_BYTES_MAX)
    except FileNotFoundError as error:
        raise ConfigFault("TQ-CF-01", f"there is no configuration {path}", "give --config an existing file") from error
    except (OSError, ValueError) as error:
        hint = "give --config the right file; check its owner; save it as UTF-8"
        raise ConfigFault("TQ-CF-01", f"{path} cannot be read: {error}", hint) from error


def _override(data: dict[str, Any], model: type[BaseModel], environ: Mapping[str, str]) -> dict[str, str]:
    """Lay the variables over `data`; gives dotted key -> variable for what was laid."""
    laid: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in ENVIRONMENT_RESERVED:
            continue
        parts = variable[len(ENVIRONMENT_PREFIX) :].lower().split("__")
        if len(parts) == 1 and parts[0] not in model.model_fields:
            continue  # TARMOQ_SOMETHING of another program; a dotted one is surely meant for us
        table = data
        for part in parts[:-1]:
            below = table.setdefault(part, {})
            if not isinstance(below, dict):
                raise ConfigFault(
                    "TQ-CF-06", f"{variable} descends into {part}, which is no table", f"unset {variable}"
                )
            table = below
        table[parts[-1]] = _value_of(environ[variable])
        laid[".".join(parts)] = variable
    return laid


def _value_of(text: str) -> Any:
    """A variable's text as a TOML value where it is one (numbers, true, lists), else as the text it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _fault_of(
    error: ValidationError, path: Path, text: str, model: type[BaseModel], overridden: Mapping[str, str]
) -> ConfigFault:
    # An unknown key first: a mistyped one is the reason why another is missing.
    mistakes = sorted(error.errors(include_url=False), key=lambda mistake: mistake["type"] != "extra_forbidden")
    first = mistakes[0]
    key = _dotted(first["loc"])
    line = _line_of(text, first["loc"][:-1] if first["type"] == "missing" else first["loc"])
    where = f"{overridden[key]} (environment)" if key in overridden else f"{path}{f', line {line}' if line else ''}"
    told = "; ".join(
        f"{_dotted(mistake['loc']) or 'file'}: {mistake['msg']}" for mistake in mistakes[:MISTAKES_SHOWN_MAX]
    )
    more = f"; and {len(mistakes) - MISTAKES_SHOWN_MAX} more" if len(mistakes) > MISTAKES_SHOWN_MAX else ""
    code, hint = _advice(first, model)
    return ConfigFault(code, f"{where}: {told}{more}", hint, key=key, line=line)


def _advice(mistake: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    place, name = mistake["loc"][:-1], str(mistake["loc"][-1]) if mistake["loc"] else ""
    if mistake["type"] == "extra_forbidden":
        known = sorted(_fields_at(model, place))
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        return "TQ-CF-03", f"did you mean {near[0]}?" if near else f"known keys here: {', '.join(known) or 'none'}"
    if mistake["type"] == "missing":
        table = _dotted(place)
        return "TQ-CF-04", f"add {name} to [{table}]" if table else f"add {name} at the top of the file"
    return "TQ-CF-05", "correct the value; check-config prints the schema"


def _fields_at(model: type[BaseModel], place: Sequence[int | str]) -> set[str]:
    """The keys that exist at a place, through optional, listed and united sections."""
    models = {model}
    for part in place:
        if isinstance(part, int):
            continue
        fields = [each.model_fields[part] for each in models if part in each.model_fields]
        if fields:
            models = {found for each in fields for found in _models_in(each.annotation)}
    return {name for each in models for name in each.model_fields}


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for argument in get_args(annotation) for found in _models_in(argument)}


def _dotted(place: Sequence[int | str]) -> str:
    return ".".join(map(str, place))


def _line_of(text: str, place: Sequence[int | str]) -> int | None:
    """Where a key or table stands: under its own header if that is found, else where the first such key does."""
    names = [part for part in place if isinstance(part, str)]
    index = next((part for part in reversed(place) if isinstance(part, int)), 0)
    if not names:
        return None
    table, fallback, seen = "", None, dict[str, int]()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
            table = header[1].replace('"', "").replace(" ", "")
            seen[table] = seen.get(table, -1) + 1
            if table == ".".join(names) and seen[table] == index:
                return number
        elif re.match(rf"\s*\"?{re.escape(names[-1])}\"?\s*=", line):
            if table == ".".join(names[:-1]) and seen.get(table, 0) == index:
                return number
            fallback = fallback or number
    return fallback
