# Read at run time too: what stands here is what `civilwar.NAME` offers.
from .analysis.matched import compare as compare
from .errors import RunError as RunError
from .inspector.widget import HeadInspector as HeadInspector
from .recipe.config import RunConfig as RunConfig
from .recipe.config import make_config as make_config
from .runs.collection import open_sweep as open_sweep
from .runs.reader import Run as Run
from .runs.reader import list_runs as list_runs
from .runs.reader import open_run as open_run
from .runs.recording import record as record
from .training.loop import train as train
from .watching.lightning import LightningHeadCallback as LightningHeadCallback
from .watching.series import series as series
from .watching.trainer import HeadCallback as HeadCallback
from .watching.watch import watch as watch
