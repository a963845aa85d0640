"""Every exception of BreastLens, in one tree.

BreastLensError                 anything the user can act on; the command prints it in one line and exits with 2
├── DataError                   the folder, manifest or labels are not what was expected
│   ├── DecodeError             one file cannot be read as an image
│   └── SplitError              the records cannot be divided as asked
├── WeightsError                pretrained weights are unreachable or do not fit
├── BundleError                 a saved model is missing, damaged or of another format
├── CacheError                  what must not fill the memory cannot be kept on disk
├── RunDirectoryError           a run directory cannot be written or read
├── WorkerError                 a part of the work was lost with the process or the machine that did it
├── StoreError                  a remote store of images fails again and again
├── TrackingError               a tracker cannot be reached, or refuses a run
├── ExportError                 a saved model cannot be had in another format, or gives other scores there
└── MissingDependencyError      an optional package is not installed
"""

from __future__ import annotations


class BreastLensError(Exception):
    """Root of all errors whose cause lies in the input, never in BreastLens itself."""


class DataError(BreastLensError):
    """The data folder, the manifest or the labels are not what was expected."""


class DecodeError(DataError):
    """One file cannot be read as an image.

    Attributes:
        path: The file, as it was given.
        reason: What is wrong with it, without the path.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        """How it travels to another process."""
        return type(self), (self.path, self.reason)


class SplitError(DataError):
    """The records cannot be divided as asked without sharing patients or leaving a class out."""


class WeightsError(BreastLensError):
    """Pretrained weights are unreachable or do not fit the backbone.

    Attributes:
        brief: The same for a page that goes on without them, where a cause of many words is no use.
    """

    def __init__(self, message: str, brief: str = "") -> None:
        super().__init__(message)
        self.brief = brief or message


class BundleError(BreastLensError):
    """A saved model is missing, damaged, altered or of another format."""


class CacheError(BreastLensError):
    """What is too large for memory cannot be written to the cache."""


class RunDirectoryError(BreastLensError):
    """A run directory exists already, cannot be written, or is not complete."""


class WorkerError(BreastLensError):
    """A part of the work was lost with the process or the machine that did it, more often than is worth trying."""


class StoreError(BreastLensError):
    """A remote store of images does not answer, or not as it should, each time that it is asked."""


class TrackingError(BreastLensError):
    """A tracker cannot be reached, or refuses a run; the run directory is whole."""


class ExportError(BreastLensError):
    """A saved model cannot be written in another format, or its scores there are not those of the bundle."""


class MissingDependencyError(BreastLensError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install 'breastlens[{extra}]' "
            f"(in a checkout: pip install '.[{extra}]')"
        )
        self.package = package
        self.extra = extra
        self.purpose = purpose

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str, str]]:
        """How it travels to another process."""
        return type(self), (self.package, self.extra, self.purpose)
