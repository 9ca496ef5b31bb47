"""Seer: what references of the same group are worth to a drafter (Table 2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...policies.components import DRAFTERS
from ...sim.step import StepResult
from ..acceptance import decode_beside, large_groups
from ..claim import Claim, at_least, near
from ..page import Page, Picture, Section, Table
from ..style import look, new_figure
from .lab import Lab, part, tokens_of
from .published import published

PATHS = {"linear": 1, "top2": 2, "top4": 4}  # of a draft, by the table's column
DRAFT = 8  # tokens of a linear draft (gamma_max); of k paths k times as many
GROUPS, SAMPLES = 20, 16  # of the paper
TARGETS = 4  # rollouts drafted for, of each group
LATENCY = "h100-7b"


def reproduce_seer(lab: Lab, command: str) -> Page:
    """The page. Raises what `simulate` raises, TraceError for a trace without tokens."""
    theirs, parts = published("seer_table2"), published("seer_table4")
    wanted = theirs.frame.group_references.tolist()
    finished, live = finished_references(lab, wanted), live_references(lab, wanted)
    rollout = rollouts(lab)
    return Page(
        name="seer",
        title="Seer beside our simulation",
        paper="Seer, arXiv 2511.14617",
        command=command,
        setup=(
            f"Rollouts: the last RL step of {lab.caption}. Drafts come from the rollout's own text "
            f"and from others of its prompt, {DRAFT} tokens a path, as long as each is likely; "
            "nothing is known of how long theirs were, and their texts are another model's. "
            f"Seconds are of `{LATENCY}` (prior)."
        ),
        claims=[
            *reference_claims(theirs.frame, finished),
            *rollout_claims(parts.frame, rollout, group_size(lab)),
        ],
        sections=[
            reference_section(theirs.source, theirs.frame, finished, live),
            rollout_section(parts.source, parts.frame, rollout),
        ],
        left_out=(
            "Fig. 7 and divided rollout, context-aware scheduling and its oracle (1.42, 1.56 and "
            "1.63 on Qwen2-VL-72B): they move requests between instances, which the placements "
            "here (`longtail list placements`) do not.",
            "Draft servers and their network (DGDS): here a group's text is at hand at once, "
            f"every {DRAFTERS.make('grouped').every} forwards.",
        ),
    )


def rule(paths: int) -> str:
    """Options of a lookup that drafts so many paths."""
    return f"scope=both,paths={paths},max={DRAFT * paths},factor={paths},min_prob={0.1 / paths}"


def group_size(lab: Lab) -> int:
    """Rollouts of the largest group of the last RL step."""
    rows = lab.load.rows(lab.load.rl_steps[-1])
    return int(np.bincount(lab.load.lengths.prompt[rows]).max())


def finished_references(lab: Lab, wanted: list[int]) -> pd.DataFrame:
    """Acceptance lengths with n finished rollouts of the group to draft from, as far as groups are
    large enough: columns references and those of PATHS.
    """
    most = group_size(lab)
    known = [n for n in wanted if n < most]
    targets = min(TARGETS, most - max(known))
    last = part(lab.load, GROUPS * most, most)
    tokens = tokens_of(last, "grouped")
    rows = np.arange(last.rows(last.rl_steps[-1]).start, len(last.lengths))
    lengths, tokens = last.lengths.select(rows), tokens.select(rows)
    groups = large_groups(lengths, targets + max(known))[:GROUPS]
    table = []
    for n in known:
        row: dict[str, float] = {"references": n}
        for name, paths in PATHS.items():
            drafter = DRAFTERS.make(f"suffix:{rule(paths)}")
            row[name] = decode_beside(drafter, lengths, tokens, groups, n, targets).gain
        lab.advance()
        table.append(row)
    return pd.DataFrame(table)


def live_references(lab: Lab, wanted: list[int]) -> pd.DataFrame:
    """The same while the references are being written: groups of n + 1 that run together."""
    table = []
    for n in [n for n in wanted if n < group_size(lab)]:
        load = part(lab.load, GROUPS * (n + 1), n + 1)
        row: dict[str, float] = {"references": n}
        for name, paths in PATHS.items():
            (step,) = lab.run(
                load, load.rl_steps[-1:], drafter=f"grouped:{rule(paths)}", latency=LATENCY
            )
            row[name] = step.acceptance_length
        table.append(row)
    return pd.DataFrame(table)


def reference_claims(theirs: pd.DataFrame, ours: pd.DataFrame) -> list[Claim]:
    """Table 2."""
    most = int(ours.references.max())
    few = f"groups of the trace have no {theirs.group_references.max()} references"
    linear = dict(zip(ours.references, ours.linear, strict=True))
    wide = [table[table.columns[1:]].to_numpy(float) for table in (theirs, ours)]
    rises = [float(np.diff(rows, axis=0).min()) if len(rows) > 1 else None for rows in wide]
    widens = [float(np.diff(rows, axis=1).min()) for rows in wide]
    return [
        Claim("More references are never worse (least gain of a step)", "Table 2", at_least(0),
              rises[0], rises[1], why=few if rises[1] is None else f"up to {most} references"),
        Claim("More paths are never worse (least gain of a step)", "Table 2", at_least(0),
              widens[0], widens[1],
              why="a path more has to be as likely as the tokens that it takes from the others"),
        *(Claim(f"Acceptance length with {n} references, linear", "Table 2",
                near(value, 0.2, "{:.2f}"), value, linear.get(n),
                why="the texts are of another model and task" if n in linear else few)
          for n, value in zip(theirs.group_references, theirs.linear, strict=True)),
    ]  # fmt: skip


def reference_section(
    source: str, theirs: pd.DataFrame, finished: pd.DataFrame, live: pd.DataFrame
) -> Section:
    """All three tables in one."""
    tables = {"theirs": theirs.rename(columns={"group_references": "references"})}
    tables |= {"finished": finished, "live": live}
    tidy = pd.concat(
        [
            table.melt("references", var_name="paths", value_name="accept_length").assign(whose=who)
            for who, table in tables.items()
        ],
        ignore_index=True,
    )
    shown = pd.DataFrame({"references": theirs.group_references.astype(str)})
    for name in PATHS:
        cells = []
        for n in theirs.group_references:
            values = [
                dict(zip(table.references, table[name], strict=True)).get(n)
                for table in tables.values()
            ]
            cells.append(" / ".join("-" if v is None else f"{v:.2f}" for v in values))
        shown[name] = cells
    return Section(
        "Table 2: acceptance length by references",
        f"{source}. Theirs / ours with so many finished rollouts of the group / ours with so many "
        "that are being written at the same time (drafter `grouped` in the simulator). Finished: "
        f"the first rollouts of each of at most {GROUPS} groups are drafted for, one at a time, "
        "with those after them as references.",
        [Table("references", "Acceptance length, theirs / finished / live", tidy, shown)],
        [Picture("references", "Acceptance by references", lambda: draw_references(tables))],
    )


def draw_references(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """One panel for each kind of references."""
    titles = ("theirs (Qwen2-VL-72B)", "ours, finished references", "ours, written meanwhile")
    figure, panels = new_figure(
        "Tokens per forward, by references of the same group",
        "Seer Table 2; ours: suffix lookups on the trace, own text included",
        width=11, panels=3, height=4,
    )  # fmt: skip
    top = 1.1 * max(float(table[list(PATHS)].max().max()) for table in tables.values())
    for axes, table, title in zip(panels, tables.values(), titles, strict=True):
        for i, (name, paths) in enumerate(PATHS.items()):
            label = f"{paths} path{'s' if paths > 1 else ''}"
            axes.plot(table.references, table[name], label=label, **look(i + 1, markers=True))
        axes.set(title=title, xlabel="references", ylim=(1, top), xlim=(-0.7, 15.7))
        axes.set_xticks(tables["theirs"].references.tolist())
    panels[0].set_ylabel("acceptance length")
    panels[0].legend(fontsize=8, loc="lower right")
    return figure


def rollouts(lab: Lab) -> dict[str, StepResult]:
    """The last RL step of groups as large as theirs: without drafts, and with Seer's."""
    load = part(lab.load, GROUPS * SAMPLES, SAMPLES)
    last = load.rl_steps[-1:]
    policies = {
        "no drafts": ("none", "unlimited"),
        "own text": ("suffix:scope=own", "mba"),
        "grouped": ("grouped", "mba"),
        "grouped, unlimited": ("grouped", "unlimited"),
    }
    return {
        name: lab.run(load, last, drafter=drafter, budget=budget, latency=LATENCY)[0]
        for name, (drafter, budget) in policies.items()
    }


def rollout_claims(
    parts: pd.DataFrame, found: Mapping[str, StepResult], largest: int
) -> list[Claim]:
    """What grouped speculation brings."""
    theirs = parts.grouped_sd / parts.context
    gains = {name: found["no drafts"].makespan_s / step.makespan_s for name, step in found.items()}
    return [
        Claim(f"Grouped speculation speeds up rollouts by {theirs.min():.2f}x at least "
              "(over the same scheduling without it)", "Table 4",
              at_least(theirs.min(), "{:.2f}x"), theirs.min(), gains["grouped"], "{:.2f}x",
              "the texts are of another model and task"),
        Claim("The group's text adds to the rollout's own (ratio of speed-ups)", "Table 4",
              at_least(1), None, gains["grouped"] / gains["own text"] if largest > 1 else None,
              "{:.2f}", f"groups here have {largest} rollouts at most"),
    ]  # fmt: skip


def rollout_section(source: str, parts: pd.DataFrame, found: Mapping[str, StepResult]) -> Section:
    """Makespans."""
    plain = found["no drafts"]
    rows = [
        {"drafts": name, "seconds": step.makespan_s, "speed-up": plain.makespan_s / step.makespan_s,
         "tail s": step.tail_s, "acceptance length": step.acceptance_length,
         "draft tokens per output token": step.draft_tokens / step.output_tokens}
        for name, step in found.items()
    ]  # fmt: skip
    forms = {
        "speed-up": "{:.2f}x",
        **dict.fromkeys(
            ["seconds", "tail s", "acceptance length", "draft tokens per output token"], "{:.2f}"
        ),
    }
    return Section(
        "A rollout with grouped drafts",
        f"{source}. Ours: {plain.requests} requests at once on one replica, budget `mba` (Seer's "
        "Algorithm 1) unless it says otherwise.",
        [
            Table("parts", "Throughput over veRL as parts are added, theirs", parts),
            Table("rollout", "Ours", pd.DataFrame(rows), None, forms),
        ],
    )  # fmt: skip
