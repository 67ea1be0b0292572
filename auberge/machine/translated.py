"""What the translator counted, for people: how much ran in which tier, and what that took."""

# Of each hart; all else is counted once for all of them.
OF_A_HART = ("regions_installed", "slices", "slices_in_regions")
EXITS = "exits_"  # what begins the names of causes why regions were left; of each hart
CAUSES = {
    "budget": "the slice ended",
    "attention": "called by timer or thread",
    "trap": "a trap",
    "device": "a device",
    "crossing": "two pages at once",
    "fetch": "code not in the TLB",
    "mode": "other floating-point mode",
    "reference": "for the reference engine",
}


def together(before: dict[str, int], counted: dict[str, int]) -> dict[str, int]:
    """What was counted, with the counts of another engine of the same machine."""
    total = dict(before)
    for name, count in counted.items():
        if name.startswith(EXITS) or name in OF_A_HART:
            total[name] = before.get(name, 0) + count
        else:
            total[name] = max(before.get(name, 0), count)
    return total


def translator_rows(counted: dict[str, int]) -> list[tuple[str, str]]:
    """Lines of a table: names and values; none without a translator."""
    if not counted:
        return []
    compiled = counted["regions"] - counted["regions_loaded"]
    slices, inside = counted["slices"], counted["slices_in_regions"]
    rare = ("regions lost", counted["regions_lost"]), ("arenas dropped", counted["regions_dropped"])
    left = [
        (f"left: {text}", f"{counted[EXITS + cause]:,}")
        for cause, text in CAUSES.items()
        if counted[EXITS + cause]
    ]
    return [
        ("slices", f"{slices:,}"),
        ("slices in regions (sampled)", _share(inside, slices)),
        ("regions compiled", f"{compiled:,}"),
        ("regions from the cache", f"{counted['regions_loaded']:,}"),
        ("cache hits", _share(counted["regions_loaded"], counted["regions"])),
        ("regions of better code", f"{counted['regions_better']:,}"),
        ("regions installed", f"{counted['regions_installed']:,}"),
        ("instructions of regions", f"{counted['region_instructions']:,}"),
        ("bytes of regions", f"{counted['region_bytes']:,}"),
        ("compiler CPU", f"{counted['compiler_cpu_ms'] / 1000:,.3f} s"),
        ("compiler wall", f"{counted['compiler_wall_ms'] / 1000:,.3f} s"),
        *((name, f"{count:,}") for name, count in rare if count),
        *left,
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:,.1f} %" if whole else "none"
