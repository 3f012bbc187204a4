"""What pydantic says of wrong data, in the words of our users: a path, what it must be, what it got."""

from collections.abc import Iterator

from pydantic import BaseModel, ValidationError

from trainwell.errors import did_you_mean


def faults_of(error: ValidationError, root: type[BaseModel]) -> Iterator[str]:
    """Say each pydantic complaint in one clause; the branches of a union are one complaint."""
    said: dict[str, str] = {}
    for problem in error.errors():
        fields = [part for part in problem["loc"] if isinstance(part, int) or _is_field(part, root)]
        if problem["type"] == "extra_forbidden":
            *parents, name = problem["loc"]
            known = _fields_at([p for p in parents if isinstance(p, str)], root)
            path = ".".join(map(str, problem["loc"]))
            said[path] = f"{path}: there is no such field{did_you_mean(str(name), known)}"
            continue
        path = ".".join(map(str, fields)) or str(problem["loc"][0])
        words = problem["msg"].removeprefix("Value error, ")
        words = words.replace("Input should be", "must be").partition(", unable to")[0]
        words = words.replace(", got a number with a fractional part", "")
        words = words.replace("a valid string", "a text").replace("a valid integer", "a whole number")
        words = words.replace("a valid number", "a number")
        clause = words if path not in said else f"{said[path].rpartition(', got ')[0].partition(': ')[2]}, or {words}"
        clause = clause.replace(", or must be", " or")
        said[path] = f"{path}: {clause}, got {problem['input']!r}"
    yield from said.values()


def _is_field(part: object, root: type[BaseModel]) -> bool:
    names = set(root.model_fields)
    for field in root.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= set(field.annotation.model_fields)
    return part in names


def _fields_at(path: list[str], root: type[BaseModel]) -> list[str]:
    model = root
    for name in path:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)
