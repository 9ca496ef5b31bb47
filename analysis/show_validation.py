"""A validation for people: errors by cause, the ranking, and what it does not show."""

from __future__ import annotations

from .ranking import Cell, Ranking
from .show import Output, table
from .validation import Validation

LEGEND = (
    "tokens: whether every forward's running, drafted and accepted are the simulator's;\n"
    "slow: times slower than the quiet machine, by the probe; clock: error of the forwards'\n"
    "seconds, given the true batch (fwd: of a single one, median); makespan, tail: error of the\n"
    "RL step predicted from the trace, at the machine's speed; curve: area between predicted and\n"
    "measured active requests; order: Kendall's tau of the finishes; outside: forwards beyond\n"
    "what was calibrated"
)


def show_validation(made: Validation) -> None:
    """Print its tables."""
    out = Output()
    engine = made.engine
    out.print(f"{engine['hardware']}, {engine['engine']}: predicted and measured", style="bold")
    if made.checks:
        _show_checks(out, made)
        for ranking in made.rankings:
            _show_ranking(out, ranking)
    if made.forecasts:
        _show_forecasts(out, made)
    out.print("Known limitations", style="bold")
    for limitation in made.limitations:
        out.print(f"- {limitation}", markup=False)


def _show_checks(out: Output, made: Validation) -> None:
    rows = [
        [
            check.run,
            "held out" if check.held_out else "seen",
            "all" if check.exact else "DIFFER",
            f"{check.measured_s:.2f}",
            f"{check.slow:.2f}",
            f"{check.clock_error:+.1%}",
            f"{check.forward_error:.0%}",
            f"{check.makespan_error:+.1%}",
            "-" if check.tail_error is None else f"{check.tail_error:+.1%}",
            f"{check.curve:.1%}",
            "-" if check.finish_tau is None else f"{check.finish_tau:.3f}",
            f"{check.outside:.1%}",
        ]
        for check in made.checks
    ]
    columns = ["run", "by the calibration", "tokens", "seconds", "slow", "clock", "fwd",
               "makespan", "tail", "curve", "order", "outside"]  # fmt: skip
    out.show(table(columns, rows, "Live replays"))
    out.print(LEGEND, style="dim")
    for check in made.checks:
        if not check.exact:
            out.print(f"{check.run}: {check.tokens}", markup=False)


def _show_ranking(out: Output, ranking: Ranking) -> None:
    rows = [
        [
            cell.policy,
            f"{cell.measured_s:.2f}",
            _spread(cell),
            f"{cell.predicted_s:.2f}",
            f"{cell.error:+.1%}",
            f"{cell.raw_error:+.1%}",
            str(1 + sorted(c.predicted_s for c in ranking.cells).index(cell.predicted_s)),
            str(cell.repeats),
            "held out" if cell.held_out else "seen",
        ]
        for cell in ranking.cells
    ]
    title = f"Policies on {ranking.workload}, batch {ranking.batch}, at the quiet machine's speed"
    columns = ["policy, the fastest first", "measured s", "spread", "predicted s", "error", "raw",
               "predicted place", "runs", "by the calibration"]  # fmt: skip
    out.show(table(columns, rows, title))
    out.print(
        "raw: error against the seconds as measured, whatever slowed the machine", style="dim"
    )
    if ranking.clear:
        out.print(
            f"{ranking.right} of {ranking.clear} pairs that differ by more than twice their spread "
            "are predicted in the right order"
            + (f"; not: {', '.join(ranking.wrong)}" if ranking.wrong else ""),
            markup=False,
        )
    else:
        out.print("no pair differs by more than twice its spread, or none was repeated")


def _spread(cell: Cell) -> str:
    if cell.spread is None or cell.raw_spread is None:
        return "-"
    return f"{cell.spread:.1%} (raw {cell.raw_spread:.1%})"


def _show_forecasts(out: Output, made: Validation) -> None:
    rows = []
    for f in made.forecasts:
        low, high = (f.forecast_s[1], f.forecast_s[2]) if f.forecast_s else (0.0, 0.0)
        rows.append(
            [
                f.run,
                str(f.rl_step),
                f"{f.measured_s:.2f}",
                f"{f.hindsight_s:.2f}",
                f"{f.hindsight_s / f.measured_s - 1:+.1%}",
                f"{f.forecast_s[0]:.2f}" if f.forecast_s else "-",
                f"{low:.2f} to {high:.2f}" if f.forecast_s else "no history",
                f"{f.forecast_s[0] / f.measured_s - 1:+.1%}" if f.forecast_s else "-",
                f"{f.measured_tokens:,}",
                f"{f.forecast_tokens:,.0f}" if f.forecast_tokens else "-",
                f"{f.measured_gain:.2f}",
                f"{f.hindsight_gain:.2f}",
                f"{f.forecast_gain:.2f}" if f.forecast_gain else "-",
            ]
        )
    columns = ["run", "RL step", "seconds", "hindsight s", "error", "forecast s", "90 % of draws",
               "forecast error", "tokens", "forecast tokens", "gain", "hindsight gain",
               "forecast gain"]  # fmt: skip
    out.show(table(columns, rows, "Live generation"))
    out.print(
        "hindsight: the recorded rollouts simulated; forecast: earlier rollouts of the prompts in\n"
        "their place; gain: tokens per request and forward that gave it any",
        style="dim",
    )
