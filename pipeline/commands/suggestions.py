"""What a mistyped command, option or choice was meant to be: by spelling, or by the words of other programs."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

import click

CUTOFF = 0.7
MOST = 3  # suggestions at a time

# Words of timm, torch, DeiT, EViT and lightning, without dashes and underscores: what a command has of it, in order.
OPTIONS = {
    **dict.fromkeys(("b", "bs", "bsz", "batch", "batchsizeperstep", "trainbatchsize"), ("batch-size",)),
    **dict.fromkeys(("learningrate", "baselr", "blr", "maxlr", "initiallr"), ("lr",)),
    **dict.fromkeys(("minimumlr", "etamin", "finallr"), ("min-lr",)),
    **dict.fromkeys(("numepochs", "maxepochs", "nepochs", "ep", "e"), ("epochs",)),
    **dict.fromkeys(("warmup", "warmupsteps"), ("warmup-epochs",)),
    **dict.fromkeys(("cooldown",), ("cooldown-epochs",)),
    **dict.fromkeys(("wd", "l2"), ("weight-decay",)),
    **dict.fromkeys(("optim", "optimizer"), ("opt",)),
    **dict.fromkeys(("sched", "scheduler", "lrscheduler", "lrschedule"), ("schedule",)),
    **dict.fromkeys(("labelsmoothing", "labelsmooth"), ("smoothing",)),
    **dict.fromkeys(("droppathrate", "stochasticdepth", "dpr"), ("drop-path",)),
    **dict.fromkeys(("aa", "autoaugment", "ra"), ("rand-augment",)),
    **dict.fromkeys(("reprob", "randomerasing", "randomerase", "randomerasingprob"), ("erasing",)),
    **dict.fromkeys(("scale",), ("crop-scale",)),
    **dict.fromkeys(("jitter", "cj"), ("color-jitter",)),
    **dict.fromkeys(("repeatedaug", "repeataug", "augrepeats"), ("repeats",)),
    **dict.fromkeys(("clip", "clipnorm", "gradclip", "clipgradnorm", "gradientclipval", "maxgradnorm"), ("clip-grad",)),
    **dict.fromkeys(("modelema", "modelemadecay", "emadecay"), ("ema",)),
    **dict.fromkeys(("imgsize", "imgsz", "inputsize", "inputres", "resolution", "img"), ("image-size", "shorter-side")),
    **dict.fromkeys(("resize",), ("shorter-side", "image-size")),
    **dict.fromkeys(("patch",), ("patch-size",)),
    **dict.fromkeys(("j", "numworkers", "nworkers", "workersperrank", "dataworkers"), ("workers",)),
    **dict.fromkeys(("o", "output", "outputdir", "outdir", "savedir", "logdir", "savepath"), ("out",)),
    **dict.fromkeys(
        ("a", "arch", "architecture", "net", "network", "modelname", "model"), ("model", "models", "selector")
    ),
    **dict.fromkeys(("models",), ("model",)),
    **dict.fromkeys(
        ("pretrained", "checkpoint", "ckpt", "finetune", "initialcheckpoint", "modelpath", "loadfrom"),
        ("init", "weights", "selector"),
    ),
    **dict.fromkeys(("resumefrom", "continue", "autoresume"), ("resume",)),
    **dict.fromkeys(("ticket", "manifest", "mask", "masks", "ticketsdir"), ("tickets",)),
    **dict.fromkeys(("tokenlabels", "labelmaps", "tokenlabel", "tokenlabeldata"), ("labels",)),
    **dict.fromkeys(("teacher",), ("annotator", "labels")),
    **dict.fromkeys(("cuda", "gpuid", "accelerator"), ("device",)),
    **dict.fromkeys(("gpu",), ("gpus", "device")),
    **dict.fromkeys(("randomseed", "rng", "seeds"), ("seed", "seeds")),
    **dict.fromkeys(("seed",), ("seeds", "mask-seed")),
    **dict.fromkeys(
        ("accumiter", "accumsteps", "accumulate", "gradaccumsteps", "gradientaccumulation", "accumulategradbatches"),
        ("grad-accum",),
    ),
    **dict.fromkeys(("torchcompile",), ("compile",)),
    **dict.fromkeys(("fp16", "bf16", "fp32", "half", "mixedprecision", "ampdtype", "dtype"), ("precision",)),
    **dict.fromkeys(("keepratio", "keep", "basekeeprate", "tokenratio"), ("keep-rate",)),
    **dict.fromkeys(("numtokens", "keptpatches", "numpatches", "topk", "k"), ("tokens",)),
    **dict.fromkeys(("ratio", "droprate", "prunerate", "pruningrate", "pruneratio"), ("sparsity",)),
    **dict.fromkeys(("force", "f", "forceoverwrite"), ("overwrite",)),
    **dict.fromkeys(("subset", "maxsamples", "numsamples"), ("limit",)),
    **dict.fromkeys(("pruninglayers", "pruninglocs", "droploc", "layers", "blocks"), ("stages", "block")),
    **dict.fromkeys(("valsplit", "trainsplit", "subfolder"), ("split",)),
    **dict.fromkeys(("testsplit", "on", "evalon", "testedon"), ("on", "split")),
}
# What is an argument here, and what torchrun does.
OF_DATASET = ("data", "datadir", "datapath", "dataset", "root", "dataroot", "i", "input", "source")
OF_TORCHRUN = ("gpus", "gpu", "ngpus", "numgpus", "nproc", "nprocpernode", "worldsize", "distributed", "devices")
TRAIN_OPTIONS = "train_options"  # argument of commands that pass what stands after -- to every `train`
COMMANDS = {
    **dict.fromkeys(("eval", "test", "validate", "val", "score", "predict"), "evaluate"),
    **dict.fromkeys(("gen", "select", "tickets", "ticket", "ticketgen"), "generate"),
    **dict.fromkeys(("fit", "pretrain", "finetune"), "train"),
    **dict.fromkeys(("convert", "prepare", "import", "build", "dataset"), "pack"),
    **dict.fromkeys(("check", "validatedataset"), "verify"),
    **dict.fromkeys(("show", "view", "info", "describe", "gallery", "stats"), "inspect"),
    **dict.fromkeys(("plot", "verdict", "results"), "report"),
    **dict.fromkeys(("annotate", "label", "labelmaps"), "labels"),
    **dict.fromkeys(("publish", "archive"), "export"),
    **dict.fromkeys(("diff", "overlap"), "compare"),
    **dict.fromkeys(("grid", "experiment"), "sweep"),
    **dict.fromkeys(("reproduce", "paper"), "table"),
}
CHOICES = {
    **dict.fromkeys(("ticket", "tickets", "lottery", "winning"), "lt"),
    **dict.fromkeys(("random", "randomchoice", "rand"), "rc"),
    **dict.fromkeys(("full", "all", "whole", "baseline"), "dense"),
    **dict.fromkeys(("lowres", "lowresolution"), "small"),
    **dict.fromkeys(("adam",), "adamw"),
    **dict.fromkeys(("momentum", "nesterov"), "sgd"),
    **dict.fromkeys(("cosine", "iteration", "iter", "batch"), "step"),
    **dict.fromkeys(("float32", "32", "full", "float", "tf32"), "fp32"),
    **dict.fromkeys(("float16", "16", "half", "16mixed"), "fp16"),
    **dict.fromkeys(("bfloat16", "bf16mixed", "mixed"), "bf16"),
    **dict.fromkeys(("gpu", "nvidia"), "cuda"),
    **dict.fromkeys(("attention", "cls", "evit"), "cls-attention"),
}


def meant(word: str, known: Iterable[str], aliases: dict[str, str] = CHOICES) -> list[str]:
    """Those of `known` that `word` may stand for, best first: alone where spelling or alias leaves no doubt."""
    plain = {each: _plain(each) for each in known}
    typed = _plain(word)
    if same := [each for each, letters in plain.items() if letters == typed]:
        return same[:1]
    if (alias := aliases.get(typed)) in plain:
        return [alias]
    begun = [each for each, letters in plain.items() if len(typed) > 1 and letters.startswith(typed)]
    if len(begun) == 1:
        return begun
    if len(typed) < 3:
        return begun[:MOST]
    close = difflib.get_close_matches(typed, list(plain.values()), MOST, CUTOFF)
    best = [next(each for each, letters in plain.items() if letters == match) for match in close]
    if best and difflib.SequenceMatcher(None, typed, _plain(best[0])).ratio() >= 0.85:
        return best[:1]
    return list(dict.fromkeys([*begun, *best]))[:MOST]


def did_you_mean(word: str, known: Iterable[str], aliases: dict[str, str] = CHOICES) -> str:
    """`; did you mean ...?`, the end of a message about `word`; empty where nothing is like it."""
    found = meant(word, known, aliases)
    return f"; did you mean {' or '.join(found)}?" if found else ""


@contextlib.contextmanager
def suggesting(typed: Sequence[str] = ()) -> Iterator[None]:
    """Within it, click's errors about unknown options, commands and choices say what may have been meant.

    typed: the words of the command line, as click names only the first letter of `-bs`.
    """
    try:
        yield
    except click.NoSuchOption as error:
        _of_option(error, typed)
    except click.BadParameter as error:
        kind = error.param.type if error.param is not None else None
        if not isinstance(kind, click.Choice) or "did you mean" in error.message:
            raise
        value = next((word for word in _quoted(error.message) if word not in kind.choices), "")
        message = error.message.rstrip(".") + (did_you_mean(value, map(str, kind.choices)) or ".")
        raise click.BadParameter(message, error.ctx, error.param, error.param_hint) from None


def no_such_command(name: str, known: Sequence[str], ctx: click.Context) -> NoReturn:
    """Raise click's error for the unknown command `name`."""
    hint = did_you_mean(name, known, COMMANDS) or f"; expected one of {', '.join(known)}"
    raise click.UsageError(f"No such command {name!r}{hint}", ctx)


def _of_option(error: click.NoSuchOption, typed: Sequence[str]) -> NoReturn:
    ctx, name = error.ctx, error.option_name
    if ctx is None:
        raise error
    if not name.startswith("--"):  # click reads -bs as -b -s
        name = next((word for word in typed if word.startswith(name) and not word.startswith("--")), name)
    name = name.split("=")[0]
    parameters = ctx.command.get_params(ctx)
    options = [each for param in parameters if isinstance(param, click.Option) for each in _long(param)]
    letters = _plain(name)
    known = [each for each in (f"--{meaning}" for meaning in OPTIONS.get(letters, ())) if each in options]
    argument = next((p for p in parameters if isinstance(p, click.Argument) and p.name in ("dataset", "source")), None)
    begun = [each for each in options if len(letters) > 2 and _plain(each).startswith(letters)]
    plural = [each for each in begun if _plain(each) == f"{letters}s"]
    found = plural or (begun if len(begun) == 1 else known[:1]) or meant(name, options, {})
    if letters in OF_TORCHRUN and ctx.command.name == "train":
        hint = "; on several GPUs: torchrun --nproc-per-node N -m vit_tickets.train with the same options"
    elif letters in OF_DATASET and argument is not None and f"--{letters}" not in options:
        word = (argument.name or "").upper()
        hint = f"; {word} stands without an option: {ctx.command_path} {word} ..."
    elif not known and _is_passed_on(name, ctx, parameters):
        hint = f"; `train` has it: options of train stand last, after --: {ctx.command_path} ... -- {name} ..."
    else:
        hint = f"; did you mean {' or '.join(found)}?" if found else ""
    raise click.UsageError(f"No such option {name}{hint}", ctx) from None


def _is_passed_on(name: str, ctx: click.Context, parameters: Sequence[click.Parameter]) -> bool:
    """Whether the command passes options to every `train`, of which this is one."""
    group = ctx.find_root().command
    if not isinstance(group, click.Group) or all(each.name != TRAIN_OPTIONS for each in parameters):
        return False
    train = group.get_command(ctx, "train")
    return train is not None and any(name in (*each.opts, *each.secondary_opts) for each in train.params)


def _long(param: click.Option) -> list[str]:
    return [each for each in (*param.opts, *param.secondary_opts) if each.startswith("--")]


def _plain(word: str) -> str:
    """Letters and digits alone, so that --batch_size, --batchSize and --batch-size are the same."""
    return "".join(letter for letter in word.lower() if letter.isalnum())


def _quoted(text: str) -> list[str]:
    return text.split("'")[1::2]
