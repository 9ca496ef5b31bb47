"""How any program that starts vLLM gets longtail: by configuration alone.

vLLM calls `register` in each of its processes (entry point `vllm.general_plugins`). A policy is
asked for by `LONGTAIL_POLICY=policy.yaml`, by `additional_config={"longtail": {...}}` with a policy
file's keys, or by naming our `scheduler_cls`; without any of them nothing of vLLM is changed.
With one, engine arguments are completed (scheduler, and a speculative method that says nothing so
that drafts can be verified), and what cannot work is refused before a model is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import proposer
from .versions import check_version
from .wrap import wrap_once

if TYPE_CHECKING:  # it brings numba, which a worker's process has no need of
    from .settings import LiveSettings

POLICY = "LONGTAIL_POLICY"
SCHEDULER = "longtail.engine.scheduler.LongtailScheduler"
ASYNC_SCHEDULER = "longtail.engine.scheduler.LongtailAsyncScheduler"


def register() -> None:
    """vLLM's entry point; may be called more than once."""
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    wrap_once(EngineArgs, "create_engine_config", _configured)
    wrap_once(WorkerWrapperBase, "init_device", _equipped)
    wrap_once(VllmConfig, "compute_hash", _without_policy)


def asked_for(args: Any) -> LiveSettings | None:
    """The policy that these engine arguments, or the environment, ask for.

    Raises TraceError or ComponentError for a policy that cannot be used.
    """
    from .settings import LiveSettings

    others = args.additional_config
    if isinstance(others, dict) and others.get("longtail") is not None:
        return LiveSettings.of(others["longtail"])
    path = os.environ.get(POLICY)
    if path:
        return LiveSettings.read(path)
    named = args.scheduler_cls
    name = named if isinstance(named, str) else getattr(named, "__qualname__", "")
    return LiveSettings() if name.startswith("longtail.") or name.startswith("Longtail") else None


def complete(args: Any, settings: LiveSettings) -> None:
    """Put the policy into vLLM's engine arguments. Raises ValueError for what contradicts it."""
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler

    from .scheduler import LongtailScheduler

    settings.open_history()  # what cannot be read is said here and not in a process further down
    others = args.additional_config or {}
    if not isinstance(others, dict):
        raise ValueError(
            f"longtail: additional_config is a {type(others).__name__}, which a policy cannot be "
            "added to; make it a dict"
        )
    args.additional_config = {**others, "longtail": settings.to_dict()}
    if args.scheduler_cls is None:
        args.scheduler_cls = SCHEDULER
    scheduler = _resolve(args.scheduler_cls)
    if not issubclass(scheduler, LongtailScheduler):
        raise ValueError(
            f"longtail: scheduler_cls is {scheduler.__name__}, which asks no policy; leave it out, "
            f"or derive it from {SCHEDULER}"
        )
    if settings.rl_step_file and args.distributed_executor_backend == "external_launcher":
        raise ValueError(
            "longtail: rl_step_file cannot be used with external_launcher, whose ranks would see "
            "the file change at different forwards; tell the RL step by request or by RPC"
        )
    if scheduler is not LongtailScheduler and not issubclass(scheduler, AsyncScheduler):
        args.async_scheduling = False
    if settings.coupled:
        args.async_scheduling = False  # positions are counted from tokens that are there
    spec = args.speculative_config
    if settings.k == 0:
        return
    if spec and spec.get("model") != proposer.PATH:
        raise ValueError(
            f"longtail: the policy's drafter '{settings.drafter.name}' and vLLM's speculative "
            f"method '{spec.get('method')}' exclude each other; take one out (drafter: none still "
            "logs and records)"
        )
    args.speculative_config = {
        "method": "custom_class",
        "model": proposer.PATH,
        "num_speculative_tokens": settings.k,
    }


def _configured(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_engine_config(self: Any, *args: Any, **kwargs: Any) -> Any:
        settings = asked_for(self)
        if settings is None:
            return original(self, *args, **kwargs)
        check_version()
        complete(self, settings)
        from . import cpu_shims

        cpu_shims.install()  # one of them is for the engine's start
        config = original(self, *args, **kwargs)
        scheduler = config.scheduler_config
        if scheduler.async_scheduling and _resolve(scheduler.scheduler_cls) is _resolve(SCHEDULER):
            scheduler.scheduler_cls = ASYNC_SCHEDULER  # vLLM's default where nothing is drafted
        if settings.coupled and config.use_v2_model_runner:
            raise ValueError(
                "longtail: coupled sampling needs vLLM's first model runner; set "
                "VLLM_USE_V2_MODEL_RUNNER=0"
            )
        return config

    return create_engine_config


def _equipped(original: Callable[..., Any]) -> Callable[..., Any]:
    def init_device(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        others = self.vllm_config.additional_config
        if isinstance(others, dict) and "longtail" in others:
            from . import cpu_shims, sampling

            cpu_shims.install()
            runner = type(self.worker.model_runner)
            if hasattr(runner, "_sample"):  # the V1 runner; the V2 one takes no drafts of ours
                sampling.install(runner)
        return result

    return init_device


def _without_policy(original: Callable[..., str]) -> Callable[..., str]:
    """A policy does not change what is compiled: with another one nothing is compiled anew."""

    def compute_hash(self: Any) -> str:
        whole = self.additional_config
        if not isinstance(whole, dict) or "longtail" not in whole:
            return original(self)
        self.additional_config = {k: v for k, v in whole.items() if k != "longtail"}
        try:
            return original(self)
        finally:
            self.additional_config = whole

    return compute_hash


def _resolve(scheduler: str | type) -> Any:
    """The class, which vLLM also takes by name."""
    from vllm.utils.import_utils import resolve_obj_by_qualname

    return resolve_obj_by_qualname(scheduler) if isinstance(scheduler, str) else scheduler
