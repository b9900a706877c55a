"""Puts the DuckDB extensions that pip installed where DuckDB looks for them: below the home folder given, by version
and platform. Without them it would try to download them when it starts. Run with the environment's own Python."""
import pathlib
import sys
import sysconfig

import duckdb

(platform,) = duckdb.sql("PRAGMA platform").fetchone()
folder = pathlib.Path(sys.argv[1], ".duckdb", "extensions", f"v{duckdb.__version__}", platform)
folder.mkdir(parents=True)
for file in pathlib.Path(sysconfig.get_path("purelib")).glob("duckdb_extension_*/extensions/*/*.duckdb_extension"):
    (folder / file.name).symlink_to(file)
