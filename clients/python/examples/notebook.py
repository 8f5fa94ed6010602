"""A notebook as a program: pandas sends a table, polars works on it and answers. Cells begin with `# %%`."""

# %% A bridge; `sync.connect()` for real servers
import pandas as pd
import polars as pl

from natsbridge import testing

bridge = testing.sync_bridge()

# %% Readings of a week, in pandas
readings = pd.DataFrame(
    {
        "sensor": pd.Categorical(["roof", "cellar", "hall"] * 56),
        "when": pd.date_range("2026-05-11", periods=168, freq="h", tz="Europe/Berlin"),
        "celsius": [10 + (hour % 24) / 4 for hour in range(168)],
    }
)


# %% Somebody who knows polars
def mean_of_days(message):
    """The mean of each sensor and day"""
    frame = message["readings"].to_polars()
    days = frame.group_by("sensor", pl.col("when").dt.date().alias("day")).agg(pl.col("celsius").mean().round(2))
    return [("days", days.sort("day", "sensor"), "arrowtable")]


service = bridge.serve("lab.mean", mean_of_days)

# %% Ask, and look at the answer
answer = bridge.request("lab.mean", [("readings", readings, "arrowtable")], timeout=5)
days = answer["days"]
print(len(days), days.types)
print(days.to_pandas().head(3).to_string(index=False))

# %% The end
bridge.drain()
