"""What `evaluate` scores: a finished run, or plain weights without one."""

from dataclasses import dataclass, replace

from vit_tickets.pipeline.datasets.pack import open_or_build
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_table
from vit_tickets.pipeline.networks import pretrained
from vit_tickets.pipeline.networks.state import check_classes, load_strictly, state_sha256
from vit_tickets.pipeline.runs.class_order import doubt
from vit_tickets.pipeline.runs.config import CONFIG, FINAL, RunConfig
from vit_tickets.pipeline.runs.paths import ON, PATHS
from vit_tickets.pipeline.runs.predictions import predictions_file
from vit_tickets.pipeline.runs.provenance import Provenance
from vit_tickets.pipeline.runs.rows import TESTED
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, say
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.substitutes import substitute_of
from vit_tickets.train.evaluation.predict import check_on, eval_config, evaluate_to
from vit_tickets.train.models.learned import split
from vit_tickets.train.models.saved import load_weights
from vit_tickets.train.models.sparse import Model, build_model
from vit_tickets.train.recipes.presets import recipe_for
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs import run as runs
from vit_tickets.train.runs.folder import environment
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve
from vit_tickets.train.runs.tickets import open_manifest
from vit_tickets.train.runs.weights import put_on

NEEDED = (
    *("root", "model", "path", "recipe", "eval_view", "image_size", "patch_size", "num_classes", "seed"),
    *("can_drop_patches", "precision"),
)


@dataclass(frozen=True)
class Subject:
    """What is scored."""

    #: The run of the model, or one that stands for plain weights.
    run: runs.Run
    model: Model
    #: The images to score it on.
    data: SplitData
    #: Where the predictions go.
    folder: str

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.data.counts)


def open_run(root: str, tickets: str | None, split: str, out: str | None, masks: str | None = None) -> Subject:
    """The finished run at `root`, with its own manifest unless `tickets` names another.

    masks: a weight ticket; what it drops is 0 then.

    Raises UserError if it is none, is not finished, or does not fit the dataset, the tickets and the masks.
    """
    path = files.join(root, CONFIG)
    if not files.exists(path):
        raise UserError(f"expected the folder of a run, found no {CONFIG} in {root}")
    config = RunConfig.read(root, NEEDED)
    weights = files.join(root, FINAL)
    if not files.exists(weights):
        raise UserError(f"{root} is not finished; resume it with `vit-tickets train ... --resume`")
    dataset = open_or_build(config.root)
    manifest = open_manifest(tickets or config.tickets_dir, dataset, split)
    grid, kept = _grid_and_kept(config, manifest)
    try:
        recipe = Recipe(**config.recipe)
    except TypeError as error:
        raise UserError(f"{path}: recipe: {error}") from None
    run = runs.Run(root, dataset, manifest, recipe, config, grid, kept)
    model = run.build_model()
    load_weights(model, root)
    if masks is not None:
        run = replace(run, config=replace(config, weights=put_on(model.network, masks, config)))
    try:
        data = SplitData(dataset, split, manifest, substitute=substitute_of(config, to_test=True))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Subject(run, model, data, out or root)


def open_weights(
    dataset: str,
    split: str,
    model: str,
    weights: str | None,
    tickets: str | None,
    out: str,
    weights_key: str | None = None,
) -> Subject:
    """The weights of a timm model, from a file or the hub, as if they were a run (path `weights`)."""
    pretrained.check_key(weights, weights_key)
    opened = open_or_build(dataset)
    opened.shards(split)
    manifest = open_manifest(tickets, opened, split)
    recipe = replace(recipe_for(opened.source, model), crop_pct=None)
    request = Request(
        model=model, path="dense", tickets=tickets, out=out, split=split, init=weights, weights_key=weights_key
    )
    run = resolve(opened, recipe, request)
    if weights is None or run.start is None:
        built = build_model(model, len(opened.classes), run.image_size, run.config.patch_size, run.grid)
        state = pretrained.load_pretrained(model).state_dict()
        check_classes(built.network, state, model, "the dataset")
        load_strictly(built.network, state, model)
    else:
        built, start = replace(run, start=None).build_model(), run.start
        check_classes(built.network, start.state, start.origin, "the dataset")
        load_strictly(built.network, start.state, start.origin, start.recorded)
        if start.note:
            say(start.note)
    grid, kept = _grid_and_kept(run.config, manifest)
    run = replace(run, config=replace(run.config, path="weights"), grid=grid, kept=kept)
    return Subject(run, built, SplitData(opened, split, manifest), out)


def _grid_and_kept(config: RunConfig, manifest: Manifest | None) -> tuple[int, int]:
    """The model's own grid, and how many of its patches a sparse evaluation keeps.

    Models that cannot drop patches take the grid of the manifest. A run on tickets, or on patches that it chooses
    itself, keeps its own budget, any other the manifest's.
    """
    grid = config.image_size // config.patch_size
    if PATHS[config.path].chooses_patches:
        return grid, config.kept
    if manifest is None:
        return grid, grid * grid
    recorded = manifest.ticket.grid
    if not config.can_drop_patches and recorded and config.image_size % recorded == 0:
        grid = recorded
    own = PATHS[config.path].drops_patches
    budget = (config.budget if own else None) or manifest.budget
    return grid, runs.kept_patches(budget, grid * grid, manifest)


def default_on(subject: Subject) -> list[str]:
    """What `evaluate` scores by default: all that the run and the tickets allow."""
    path = PATHS[subject.run.path]
    if path.chooses_patches:
        return list(path.tested_on)
    sparse = subject.data.manifest is not None and not path.low_resolution
    return list(TESTED.get(subject.run.config.ticket, ON)) if sparse else ["dense"]


def score(subject: Subject, on: list[str], view: str, device: str, workers: int) -> dict[str, float]:
    """Write the predictions, and a config.json beside them outside the run; return top-1 in percent."""
    run = subject.run
    check_on(subject.data, on, run.path)
    config = eval_config(run, subject.data, view=view)
    about = Provenance(model=run.config.model, weights_sha256=state_sha256(split(subject.model.network)[0]))
    model = subject.model.to(device)
    config_path = files.join(subject.folder, CONFIG)
    if run.path == "weights":
        files.write_json(config_path, replace(run.config, environment=environment(device, 1, workers)).record())
    elif subject.folder != run.root:
        files.write_json(config_path, replace(run.config, run=runs.absolute(run.root)).record())
    top1 = evaluate_to(subject.folder, model, config, on, about, device, workers)
    if run.path == "weights":
        shown = "dense" if "dense" in on else on[0]
        table, _ = read_table(predictions_file(subject.folder, shown), ["label", "prediction", "confidence"])
        labels, predicted, confidences = (column.to_numpy() for column in table.columns)
        if doubted := doubt(labels, predicted, confidences, run.dataset.classes, run.config.num_classes):
            say(f"{subject.folder}: {doubted}")
    return top1
