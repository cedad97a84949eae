"""The examples of README.md, docs/*.md, manifests/README.md and of each --help, and what is changed to run them."""

import re

from tests.integration.docs.test_docs import PAGES, blocks, command, spans
from vit_tickets.pipeline.cli import COMMANDS, main

DRY = "--weights weights/deit_small.safetensors --dry-run"  # no hub

# What an example is changed to before it runs: (pattern, replacement, why). All that fit, in this order.
SMALLER = (
    (r"--nproc-per-node 8", "--standalone --nproc-per-node 2", "eight GPUs"),
    (r"(vit-tickets table .*)--gpus 8", rf"\1{DRY}", "eight GPUs"),
    (r"(vit-tickets lth .*)--gpus 8", r"\1--dry-run", "eight GPUs"),
    (
        r"(vit-tickets svite data/imagenet .*?)(?: --gpus 8)?$",
        r"\1 --dry-run -- --batch-size 8 --update-every 2",
        "eight GPUs, few images",
    ),
    (r"--engine ray --jobs-per-gpu 2", DRY, "two jobs on a GPU"),
    (r"--seeds 3", "--seeds 1", "time"),
    (r"--view crops:8", "--view crops:2", "time"),
    (r"pack photos/ data/photos (--val-share)", r"pack photos/train data/held \1", "photos has a val"),
    (r"(sweep data/cifar10 .*)-- ", rf"\1{DRY} -- ", "time; `table` takes the same steps"),
    (
        r"(sweep photos .*)--init pretrained --sparsity 0.27,0.488 --seeds 2",
        r"\1--models deit_tiny --init weights/deit_tiny.safetensors --sparsity 0.488 --rows dense,lt --epochs 1 "
        "-- --workers 0",
        "no hub, time",
    ),
    (r"(vit-tickets sweep .*--weights none.*)", r"\1 --out runs/joint --dry-run", "time; its tests carry it out"),
    (r"--update-every 15", "--update-every 2", "few images"),
    (r"(vit-tickets svite digits (?!.*--update-every).*)", r"\1 --update-every 2", "few images"),
    (r"(vit-tickets svite (?!.*--dry-run).*) -- ", r"\1 --dry-run -- ", "time; its tests carry it out"),
    (r"(vit-tickets (?:lth|svite) (?!.*--dry-run).*)", r"\1 --dry-run", "time; its tests carry it out"),
    (r"(vit-tickets lotus .*)--init pretrained (.*)--gpus 8", r"\1\2", "no hub, eight GPUs"),
    (r"(vit-tickets lotus .*)", r"\1 --dry-run -- --batch-size 2", "time, few images; its tests carry it out"),
    (r"(train data/digits .*--only-fold.*)", r"\1 --batch-size 4", "few images"),
    (r"(sweep data/imagenet .*--same-tokens .*)", rf"\1 {DRY}", "time; the sweep of photos takes the same steps"),
    (r"(sweep .*)--sparsity 0.27,0.5,0.75", r"\1--sparsity 0.75 --jobs 2 --epochs 1", "time"),
    (r"--keep-rate 0.9,0.8", "--keep-rate 0.9", "time"),
    (r"(labels data/imagenet)$", r"\1 --annotator resnet50", "NFNet-F6 has 438 M parameters"),
    (r"imagenet-dm_nfnet_f6", "imagenet-resnet50", "the same"),
    (r"(labels data/imagenet .*)", r"\1 --weights weights/resnet50.safetensors", "no hub"),
    (r"(evaluate --dataset .*)", r"\1 --weights weights/deit_small.safetensors", "no hub"),
    (r"(generate data/.* --selector deit_tiny.*)", r"\1 --weights weights/deit_tiny.safetensors", "no hub"),
    (
        r"(generate data/imagenet (?!.*--weights|.*--scores).*)",
        r"\1 --weights weights/deit_small.safetensors",
        "no hub",
    ),
    (r"(table data/cifar10 .*)-- ", r"\1--weights weights/deit_small.safetensors -- ", "no hub"),
    (r"(train .*--init) pretrained", r"\1 weights/deit_tiny.safetensors", "no hub"),
    (r"(predict .*--selector deit_small.*)", r"\1 --weights weights/deit_small.safetensors", "no hub"),
    (r"(vit-tickets (?:generate|labels) .*)", r"\1 --engine local --workers 1", "Ray takes seconds to start"),
    (r"(table data/cifar10 .*)-- ", r"\1--epochs 1 -- --batch-size 8 --workers 0 ", "few images"),
    (r"(cost .*)", r"\1 --rounds 1 --batch-size 2", "time"),
    (r"(vit-tickets stability .*)", r"\1 --points 3", "time"),
    (
        r"(train data/imagenet .*--weight-method svite.*)",
        r"\1 --update-every 2 --epochs 4 --batch-size 8 --workers 0",
        "few steps",
    ),
    (r"(train data/digits .*--weight-method s2vite.*)", r"\1 --update-every 1 --batch-size 32", "few steps"),
    (r"(train data/digits .*runs/(?:parent|k2-).*)", r"\1 --epochs 3 --limit 64 --workers 0", "time"),
    (r"(train (?:data/)?digits (?!.*--epochs 3 --limit 64).*)", r"\1 --epochs 1 --workers 0", "time"),
    (
        r"(train data/(?:imagenet|cifar10|photos) (?!.*--update-every).*)",
        r"\1 --epochs 1 --batch-size 8 --workers 0",
        "few images",
    ),
)

# Lines that do not run here, and why.
EXCEPTIONS = {
    "make test": "would run this file",
    "make lth MODEL=resnet20 DATA=data/cifar10 ROUNDS=14 REPORT_AT=8,11,13,14 SEEDS=3": "45 trainings and more",
    "make lotus MODEL=deit_small DATA=data/cifar10 INIT=pretrained SEEDS=3": "42 trainings",
    "make svite DATA=data/imagenet SEEDS=2": "a hundred trainings of 600 epochs",
    "make setup && . .venv/bin/activate": "installs from an index; .ci/run begins with it",
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=...": "several machines; test_cluster.py has a cluster",
    "ray start --head --node-ip-address=10.0.0.1 --port=6379": "the same",
    "ray start --address=10.0.0.1:6379": "the same",
    "vit-tickets generate /shared/data/imagenet --out /shared/manifests/imagenet "
    "--ray-address 10.0.0.1:6379": "the same",
    'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)': "Slurm",
    'torchrun="torchrun --nnodes $SLURM_NNODES --nproc-per-node 8 --rdzv-id $SLURM_JOB_ID --rdzv-backend c10d '
    '--rdzv-endpoint $head:29500"': "Slurm",
    'trainer="$torchrun -m vit_tickets.train /shared/data/imagenet --model deit_small --path dense '
    '--out /shared/runs/dense"': "Slurm",
    "srun sh -c \"trap '' USR1; exec $trainer --resume\"": "Slurm; test_interrupts.py sends the signals",
    "export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_DEFAULT_REGION=...": "object storage; "
    "tests/integration/storage runs all commands on a server",
    "export AWS_ENDPOINT_URL=https://...": "the same",
    "vit-tickets pack s3://bucket/imagenet s3://bucket/data/imagenet --shorter-side 256": "the same",
    "vit-tickets generate s3://bucket/data/imagenet --sparsity 0.27 --out s3://bucket/tickets": "the same",
    "vit-tickets train s3://bucket/data/imagenet --model deit_small --path lt --tickets s3://bucket/tickets "
    "--out s3://bucket/runs/lt --resume": "the same",
    "vit-tickets evaluate s3://bucket/runs/lt": "the same",
    'recipe="--image-size 32 --patch-size 4 --batch-size 128 --lr 0.004 --schedule step --warmup-epochs 0.8 '
    "--crop-scale 0.25 --repeats 1 --drop-path 0 --rand-augment none --color-jitter 0 --erasing 0 --mixup 0 "
    '--cutmix 0"': "two hours; the sweep of digits takes the same steps",
    "vit-tickets pack cifar10-parquet data/cifar10": "the same",
    "vit-tickets train data/cifar10 --model deit_micro --path dense --seed 1000 --epochs 8 $recipe "
    "--out runs/selector": "the same",
    "vit-tickets sweep data/cifar10 --models deit_micro --selector runs/selector --sparsity 0.488 "
    "--paths dense,lt,rc,small --seeds 2 --epochs 6 --jobs 2 --out runs/block-a -- $recipe": "the same",
    "vit-tickets lth data/cifar10-10000 --model resnet20 --per-round 0.5 --rounds 3 --report-at 2,3 --rewind 0 "
    "--controls reinit --lr 0.01,0.1 --epochs 12 --out runs/weights-b": "a part of CIFAR-10, and hours",
    "vit-tickets sweep cifar10-3000 --models deit_tiny --init pretrained --sparsity 0.488 --seeds 2 --epochs 2 "
    "--rows dense,lt,rc:fresh,lt:centre,small,short,lt:swapped,lt:finish1 -- --batch-size 32": "the same, of photos",
    "vit-tickets sweep digits --same-tokens 32:48 --seeds 2 --epochs 6 --out runs/pixels-a": "an hour",
    "vit-tickets sweep cifar10-10000 --models deit_micro --same-tokens 16:24,32 --selector deit_tiny --seeds 2 "
    "--epochs 8 --recipe cifar-deit --out runs/pixels-b -- --patch-size 2 --batch-size 64 --mixup 0 "
    "--cutmix 0": "hours",
}

# What the reader of later examples has, and no block makes.
READER = """
vit-tickets pack cifar10/ data/cifar10
vit-tickets train data/cifar10 --model deit_micro --path dense
vit-tickets train data/cifar10 --model deit_micro --path dense --without-fold 1/2 --out runs/without-1of2
vit-tickets train data/cifar10 --model deit_micro --path dense --without-fold 2/2 --out runs/without-2of2
vit-tickets train data/cifar10 --model resnet50 --path dense --image-size 32
vit-tickets train data/imagenet --model deit_small --path dense
vit-tickets evaluate runs/imagenet-deit_small-dense-seed0 --tickets manifests/imagenet/s0.27
vit-tickets generate data/imagenet --sparsity 0.27 --selector deit_tiny
vit-tickets generate data/imagenet --sparsity 0.27 --selector deit_small
vit-tickets labels data/imagenet --annotator resnet50
vit-tickets labels data/digits
vit-tickets export manifests/digits-deit_micro-s0.75 digits-tickets.parquet
vit-tickets prune runs/digits-deit_micro-dense-seed0 --weight-sparsity 0.2
vit-tickets prune runs/digits-deit_micro-dense-seed0 --weight-sparsity 0.2 --criterion random --out masks/digits-random
vit-tickets export masks/digits-deit_micro-dense-seed0-w0.2 digits-masks.safetensors
""".strip().splitlines()

# What an example of a help text finds, beside the sources and data: a command that makes what is there does nothing.
FINDS = {
    "pack": (),
    "generate": ("data", "runs"),
    "labels": ("data", "runs"),
    "train": ("data", "manifests"),
    "prune": ("data", "runs"),
    "export": ("data", "manifests", "masks"),
    "sweep": ("data",),
    "lth": ("data",),
    "lotus": ("data",),
    "svite": ("data",),
}
ALL = ("data", "manifests", "masks", "runs", "digits-tickets.parquet", "digits-masks.safetensors")
SOURCES = ("imagenet", "cifar10", "photos", "valphotos", "my-tars", "weights", "val", "LOC_val_solution.csv")
SOURCES += ("boxes.csv", "Annotations", "heatmaps", "synset_words.txt")

# What the capitals of commands within sentences stand for.
STANDS_FOR = {
    "--out MANIFEST": "--out manifests/joined",
    "MANIFEST": "manifests/digits-deit_micro-s0.75",
    "OTHER...": "manifests/digits-deit_micro-s0.75-centre",
    "MODEL": "deit_micro",
    "PATH": "dense",
    "RUNS...": "runs/digits-deit_micro-*",
    "DATASET": "data/digits",
    "LABELS": "manifests/labels/digits-deit_micro",
    "FILE": "digits-tickets.parquet",
}


def inline(text: str) -> list[str]:
    """Commands with arguments within sentences, as `vit-tickets inspect MANIFEST`; their capitals replaced."""
    capitals = "|".join(map(re.escape, STANDS_FOR))
    found = [span for span in spans(text) if re.match(r"vit-tickets [a-z]+ [^-]", span)]
    return [re.sub(capitals, lambda name: STANDS_FOR[name[0]], line) for line in found]


def examples_of(help_text: str) -> list[str]:
    """The lines of a help text that stand as they are written."""
    return [line.strip() for part in help_text.split("\b\n")[1:] for line in part.strip().split("\n\n")[0].splitlines()]


BLOCKS = [block for text in PAGES.values() for block in blocks(text)]
SHOWN = [line for block in BLOCKS for line in block]
MAKE = [line for line in SHOWN if line.startswith("make ") and line not in EXCEPTIONS]
STORY = [line for line in SHOWN if line not in EXCEPTIONS and line not in MAKE]
HELP = [line for name in COMMANDS for line in examples_of(command(name).help)] + examples_of(main.help)
ALONE = [line for line in dict.fromkeys(HELP + inline("\n".join(PAGES.values()))) if line not in STORY]


def smaller(line: str) -> str:
    """The example as it runs here."""
    for pattern, replacement, _ in SMALLER:
        line = re.sub(pattern, replacement, line)
    return line
