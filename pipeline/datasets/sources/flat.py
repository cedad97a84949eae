"""Images in no class folders, with their labels in a file."""

from vit_tickets.pipeline.datasets.sources.folder import ordered
from vit_tickets.pipeline.datasets.sources.image_files import ImageFiles
from vit_tickets.pipeline.datasets.sources.labels_file import Labels
from vit_tickets.pipeline.datasets.sources.split import Unlabelled
from vit_tickets.pipeline.system.errors import UserError


class FlatSplit(ImageFiles):
    """The images below `root` that have a label in a file. The key is the relative path without suffix.

    Images without a label and labels without an image are left out. Raises Unlabelled if no image has a label, and
    UserError if labels by order are not as many as the images, or a name stands for two images.
    """

    def __init__(self, root: str, labels: Labels, about: str):
        self.labels = labels
        self._names: dict[str, str] = {}
        self._class_of: dict[str, str] = {}
        super().__init__(root, {})
        if labels.in_order:
            self._take_in_order(about)
        if not self.paths:
            raise Unlabelled(
                f"{root}: expected images that {labels.path} names, found none", f"{about}, none in {labels.path}"
            )
        for name in labels.by_name:
            if name not in self._names:
                self.left_out.add("label", f"no image of that name in {root}", name)
        self.classes = ordered(set(map(self.class_of, self.paths)))

    def _take_in_order(self, about: str) -> None:
        if (found := len(self.paths)) != (lines := len(self.labels.in_order)):
            lacks = f"expected as many images as lines in {self.labels.path}, {lines:,}"
            raise Unlabelled(f"{self.root}: {lacks}, found {found:,}", f"{about}, but {lines:,} lines of labels")
        self._class_of = dict(zip(self.paths, self.labels.in_order, strict=True))

    def reason_against(self, path: str) -> str | None:
        labels = self.labels
        if labels.in_order:
            return None
        file = path.rpartition("/")[2]
        name = file if file in labels.by_name else file.rpartition(".")[0]
        if name not in labels.by_name:
            return f"no label in {labels.path}"
        if name in self._names:
            raise UserError(f"{self.root}: expected one image for {name}, found {self._names[name]} and {path}")
        self._names[name] = path
        self._class_of[path] = labels.by_name[name]
        return None

    def class_of(self, path: str) -> str:
        return self._class_of[path]
