"""Canonical specs as people read them."""


def short_names(specs: list[str]) -> dict[str, str]:
    """Canonical specs as people read them: the name, and the parameters in which entries of one name differ.

    The whole specs stand below the table and in the files.
    """
    alike: dict[str, list[str]] = {}
    for spec in dict.fromkeys(specs):
        alike.setdefault("+".join(_name(link) for link in spec.split("+")), []).append(spec)
    names = {}
    for name, same in alike.items():
        for spec in same:
            own = [pair for pair in _pairs(spec) if not all(pair in _pairs(other) for other in same)]
            names[spec] = f"{name}:{','.join(own)}" if own else name
    return names


def _name(link: str) -> str:
    return link if ".py:" in link else link.partition(":")[0]


def _pairs(spec: str) -> list[str]:
    return [pair for link in spec.split("+") for pair in link.removeprefix(_name(link)).lstrip(":").split(",") if pair]
