"""Graphs of ComfyUI in both file formats: workflows of the page (values by position), prompts of the API (by name).

`read_graphs` gives nodes with their links by input name; `write` of their format brings the file's content up to date.
Fields of unchanged nodes stay as they are.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from echomimic.apps.comfy import legacy_schema
from echomimic.errors import InputError

Source = tuple[Any, int]
"""The id of a node and the number of its output."""


@dataclass(frozen=True)
class NodeType:
    """What the page stores of a node: linked inputs and outputs as (name, type), and widgets in order."""

    links: tuple[tuple[str, str], ...]
    widgets: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]


def _page_type(slots: tuple[legacy_schema.Slot, ...], outputs: tuple[tuple[str, Any], ...]) -> NodeType:
    widgets = [slot.name for slot in slots if slot.default is not None]
    if "seed" in widgets:
        widgets.insert(widgets.index("seed") + 1, "control_after_generate")
    return NodeType(tuple((each.name, each.kind) for each in slots if each.default is None), tuple(widgets), outputs)


TYPES: Mapping[str, NodeType] = {
    "Echo_LoadModel": _page_type(legacy_schema.LOADER, legacy_schema.LOADER_OUTPUTS),
    "Echo_Sampler": _page_type(legacy_schema.SAMPLER, legacy_schema.SAMPLER_OUTPUTS),
    "LoadAudio": NodeType((), ("audio",), (("AUDIO", "AUDIO"),)),
    "LoadVideo": NodeType((), ("file",), (("VIDEO", "VIDEO"),)),
    "GetVideoComponents": NodeType(
        (("video", "VIDEO"),), (), (("images", "IMAGE"), ("audio", "AUDIO"), ("fps", "FLOAT"))
    ),
    "UpscaleModelLoader": NodeType((), ("model_name",), (("UPSCALE_MODEL", "UPSCALE_MODEL"),)),
    "ImageUpscaleWithModel": NodeType(
        (("upscale_model", "UPSCALE_MODEL"), ("image", "IMAGE")), (), (("IMAGE", "IMAGE"),)
    ),
}
"""The nodes that a migration writes."""


@dataclass
class Node:
    """One node. `values` are set where a migration writes the node; `raw` is its part of the file."""

    id: Any
    type: str
    links: dict[str, Source]
    raw: dict[str, Any]
    values: dict[str, Any] | None = None


@dataclass
class Graph:
    """The nodes of a file, or of one of its subgraphs, by id."""

    nodes: dict[Any, Node]
    format: "PageFormat | PromptFormat"
    added: list[Node] = field(default_factory=list)

    def add(self, kind: str, values: dict[str, Any], links: dict[str, Source], beside: Node) -> Node:
        """Add a node on the left of another one."""
        node = Node(self.format.new_id(self.nodes), kind, links, self.format.new_raw(beside, len(self.added)), values)
        self.nodes[node.id] = node
        self.added.append(node)
        return node

    def reroute(self, old: Source, new: Source | None) -> int:
        """Link every input that an output feeds to another output, or to nothing; gives how many there are."""
        count = 0
        for node in self.nodes.values():
            for name in [name for name, source in node.links.items() if source == old]:
                count += 1
                if new is None:
                    del node.links[name]
                else:
                    node.links[name] = new
        return count


class PromptFormat:
    """The API's format: {id: {"class_type": …, "inputs": {name: value, or [id, output]}}}."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def graph(self) -> Graph:
        """The nodes of the prompt."""
        nodes = {}
        for name, raw in self.document.items():
            inputs = raw.get("inputs", {})
            links = {key: (str(value[0]), value[1]) for key, value in inputs.items() if _is_link(value)}
            nodes[name] = Node(name, raw["class_type"], links, raw)
        return Graph(nodes, self)

    @staticmethod
    def stored(node: Node) -> dict[str, Any]:
        """The values of a node by name."""
        return {name: value for name, value in node.raw.get("inputs", {}).items() if name not in node.links}

    @staticmethod
    def new_id(nodes: Mapping[Any, Node]) -> str:
        return str(1 + max((int(name) for name in nodes if str(name).isdigit()), default=0))

    @staticmethod
    def new_raw(beside: Node, number: int) -> dict[str, Any]:
        return {}

    def write(self, graph: Graph) -> None:
        """Bring the document up to date with the graph."""
        self.document.clear()
        for node in graph.nodes.values():
            links = {name: [source[0], source[1]] for name, source in node.links.items()}
            if node.values is None:
                kept = {name: value for name, value in node.raw.get("inputs", {}).items() if not _is_link(value)}
                node.raw["inputs"] = {**kept, **links}
            else:
                values = {name: value for name, value in node.values.items() if name != "control_after_generate"}
                node.raw |= {"class_type": node.type, "inputs": {**values, **links}}
            self.document[node.id] = node.raw


class PageFormat:
    """The page's format: a list of nodes, and links as lists or objects, in the workflow or one of its subgraphs."""

    def __init__(self, part: dict[str, Any]) -> None:
        self.part = part
        self._links: dict[tuple[Any, int, Any, str], Any] = {}

    def graph(self) -> Graph:
        """The nodes of this part."""
        nodes = {raw["id"]: Node(raw["id"], str(raw.get("type")), {}, raw) for raw in self.part["nodes"]}
        records = {fields[0]: fields for fields in map(_link_fields, self.part.get("links") or [])}
        for node in nodes.values():
            for entry in node.raw.get("inputs") or []:
                found = records.get(entry.get("link"))
                if found is not None:
                    node.links[entry["name"]] = (found[1], found[2])
                    self._links[found[1], found[2], node.id, entry["name"]] = found[0]
        return Graph(nodes, self)

    @staticmethod
    def stored(node: Node) -> Any:
        """The values of a node, by position; by name if another pack has written them so."""
        return node.raw.get("widgets_values") or []

    def new_id(self, nodes: Mapping[Any, Node]) -> int:
        return self._count("last_node_id", "lastNodeId", list(nodes))

    def _count(self, name: str, name_in_subgraph: str, known: list[Any]) -> int:
        """The next id, and the file's counter moved on to it; subgraphs keep theirs in `state`."""
        counters, key = (self.part["state"], name_in_subgraph) if "state" in self.part else (self.part, name)
        numbers = [each for each in known if isinstance(each, int)]
        counters[key] = 1 + max([counters.get(key) or 0, *numbers])
        return int(counters[key])

    @staticmethod
    def new_raw(beside: Node, number: int) -> dict[str, Any]:
        left, top = _pair(beside.raw.get("pos"))
        place = {"pos": [left - 360, top + 130 * number], "size": [315, 100]}
        return {**place, "flags": {}, "order": 0, "mode": beside.raw.get("mode", 0), "properties": {}}

    def write(self, graph: Graph) -> None:
        """Bring this part of the document up to date with the graph."""
        for node in graph.nodes.values():
            if node.values is not None:
                _write_node(node)
        inside = {raw["id"] for raw in self.part["nodes"]}
        outside = [each for each in map(_link_fields, self.part.get("links") or []) if each[3] not in inside]
        self.part["nodes"] = [node.raw for node in graph.nodes.values()]
        links = [self._link(graph, node, place, entry) for node, place, entry in _linked_inputs(graph)]
        links += [each for each in outside if each[1] in graph.nodes or not isinstance(each[1], int) or each[1] < 0]
        self._write_links(graph, links)

    def _link(self, graph: Graph, node: Node, place: int, entry: dict[str, Any]) -> list[Any]:
        origin, output = node.links[entry["name"]]
        known = self._links.get((origin, output, node.id, entry["name"]))
        if known is None:
            known = self._count("last_link_id", "lastLinkId", list(self._links.values()))
            self._links[origin, output, node.id, entry["name"]] = known
        entry["link"] = known
        outputs = graph.nodes[origin].raw.get("outputs") or [] if origin in graph.nodes else []
        kind = outputs[output]["type"] if output < len(outputs) else entry.get("type", "*")
        return [known, origin, output, node.id, place, kind]

    def _write_links(self, graph: Graph, links: list[list[Any]]) -> None:
        fed: dict[Source, list[Any]] = {}
        for number, origin, output, *_ in links:
            fed.setdefault((origin, output), []).append(number)
        for node in graph.nodes.values():
            for output, entry in enumerate(node.raw.get("outputs") or []):
                if entry.get("links") or (node.id, output) in fed:
                    entry["links"] = fed.get((node.id, output), [])
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        objects = any(isinstance(each, dict) for each in self.part.get("links") or [])
        self.part["links"] = [dict(zip(names, each, strict=True)) for each in links] if objects else links


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[1], int) and not isinstance(value[0], list)


def _pair(value: Any) -> tuple[float, float]:
    """A position, which old pages store as {"0": x, "1": y}."""
    if isinstance(value, Mapping):
        value = [value.get("0", 0), value.get("1", 0)]
    return (float(value[0]), float(value[1])) if value else (0.0, 0.0)


def _link_fields(link: Any) -> list[Any]:
    """Id, origin, its output, target, its input and type of a link of either form."""
    if isinstance(link, Mapping):
        return [link[name] for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")]
    return [*link, "*"][:6]


def _linked_inputs(graph: Graph) -> Iterator[tuple[Node, int, dict[str, Any]]]:
    """Every linked input, with its place in its node; inputs that lost their link are cleared."""
    for node in graph.nodes.values():
        for place, entry in enumerate(node.raw.get("inputs") or []):
            if entry["name"] in node.links:
                yield node, place, entry
            elif entry.get("link") is not None:
                entry["link"] = None


def _write_node(node: Node) -> None:
    """The page's fields of a node whose values were set."""
    kind, values = TYPES[node.type], node.values or {}
    inputs: list[dict[str, Any]] = [{"name": name, "type": its, "link": None} for name, its in kind.links]
    for name in node.links:
        if name in kind.widgets:
            inputs.append({"name": name, "type": "*", "widget": {"name": name}, "link": None})
    outputs = [{"name": name, "type": its, "links": [], "slot_index": i} for i, (name, its) in enumerate(kind.outputs)]
    node.raw |= {"id": node.id, "type": node.type, "inputs": inputs, "outputs": outputs}
    node.raw["widgets_values"] = [values[name] for name in kind.widgets]
    node.raw.setdefault("properties", {})["Node name for S&R"] = node.type


def read_graphs(document: Any) -> tuple[dict[str, Any], list[Graph]]:
    """A copy of a file's content, and its graphs, the subgraphs among them. Raises InputError for another content."""
    made = copy.deepcopy(document)
    if isinstance(made, dict) and isinstance(made.get("nodes"), list):
        parts = [made, *(made.get("definitions") or {}).get("subgraphs", [])]
        return made, [PageFormat(part).graph() for part in parts]
    if (
        isinstance(made, dict)
        and made
        and all(isinstance(each, dict) and "class_type" in each for each in made.values())
    ):
        return made, [PromptFormat(made).graph()]
    raise InputError("this is no workflow of ComfyUI; expected the .json that its page saves, or a prompt of its API")
