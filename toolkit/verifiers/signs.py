"""Plus-minus signs, written out."""

from itertools import product

from toolkit.verifiers.forms import Call, Form, Group, Name, Node, Number, Relation, Row, Unreadable

SIGNS_MOST = 4  # in one formula


def expanded(form: Form) -> Form:
    """The form with every plus-minus written out as a list of both."""
    match form:
        case Group(items, braced):
            flat: list[Form] = []
            for item in items:
                made = expanded(item)
                flat += made.items if isinstance(made, Group) and not made.braced else (made,)
            return Group(tuple(flat), braced)
        case Relation(sides, ("=" | "in",) as signs):
            made = expanded(sides[1])
            if isinstance(made, Group) and not made.braced and made != sides[1]:
                return Group(tuple(Relation((sides[0], item), signs) for item in made.items))
            return form
        case Row(items, opening, closing) if any(_ambiguous(item) for item in items):
            choices = [e.items if isinstance(e := expanded(i), Group) else (e,) for i in items]
            return Group(tuple(Row(c, opening, closing) for c in product(*choices)))
        case Number() | Name() | Call():
            return _both_signs(form)
    return form


def _ambiguous(form: Form) -> bool:
    match form:
        case Call(op, args):
            return op in ("pm", "mp") or any(_ambiguous(arg) for arg in args)
    return False


def _both_signs(node: Node) -> Form:
    if not _ambiguous(node):
        return node
    count = _count(node)
    if count > SIGNS_MOST:
        raise Unreadable("too many signs")
    linked = _has(node, "mp")
    signs = [(plus,) * count for plus in (True, False)] if linked else product((True, False), repeat=count)
    return Group(tuple(_signed(node, list(choice)) for choice in signs))


def _count(node: Node) -> int:
    match node:
        case Call(op, args):
            return (op in ("pm", "mp")) + sum(_count(arg) for arg in args)
    return 0


def _has(node: Node, op: str) -> bool:
    return isinstance(node, Call) and (node.op == op or any(_has(arg, op) for arg in node.args))


def _signed(node: Node, choice: list[bool]) -> Node:
    """The node with its signs taken from the choice, first to last."""
    match node:
        case Call("pm" | "mp" as op, (inner,)):
            plus = choice.pop(0) == (op == "pm")
            made = _signed(inner, choice)
            return made if plus else Call("neg", (made,))
        case Call(op, args):
            return Call(op, tuple(_signed(arg, choice) for arg in args))
    return node
