"""What `longtail` calls of wandb, with wandb's own signatures; keeps what it is told in `RUNS`."""

RUNS = []


class Settings:
    def __init__(self, *, console, silent, disable_git, save_code):
        self.console = console


class Table:
    def __init__(self, columns=None, data=None, rows=None, dataframe=None):
        self.rows = dataframe.to_dict("records")


class Run:
    url = None

    def __init__(self, project, name, config, mode):
        self.project, self.name, self.config, self.mode = project, name, config, mode
        self.dir, self.steps, self.summary, self.exit_code = "wandb/run/files", [], {}, None

    def log(self, data, step=None, commit=None):
        if self.project == "unreachable":
            raise ConnectionError("no such host")
        self.steps.append((step, data))

    def finish(self, exit_code=None, quiet=None):
        self.exit_code = exit_code or 0


def init(entity=None, project=None, dir=None, id=None, name=None, notes=None, tags=None,
         config=None, *, mode=None, settings=None):  # fmt: skip
    RUNS.append(Run(project, name, config, mode))
    return RUNS[-1]
