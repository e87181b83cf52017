"""Hostile Zarr stores."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.trust.hostile.case import VOXEL_UM, Case, Expectation, Rng
from studies.trust.hostile.volumes import (
    case,
    ome_zarr,
    zarr_array,
)


def edit_json(site: str, change: Callable[[Any], Any]) -> Callable[[Path, Rng], None]:
    def apply(folder: Path, rng: Rng) -> None:
        path = folder / site
        values = change(json.loads(path.read_text()))
        path.write_text(values if isinstance(values, str) else json.dumps(values))

    return apply


def replacing(**changes: Any) -> Callable[[Any], Any]:
    return lambda values: {key: value for key, value in (values | changes).items() if value is not ...}


def cases() -> Iterator[Case]:
    """Hostile Zarr arrays and groups."""

    def on(base: Callable[[Path], None], site: str, change: Callable[[Any], Any]) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            base(folder)
            edit_json(site, change)(folder, rng)

        return make

    def multiscale(**changes: Any) -> Callable[[Any], Any]:
        return lambda values: {"multiscales": [values["multiscales"][0] | changes]}

    raw: tuple[tuple[str, Callable[[Any], Any], Expectation], ...] = (
        ("null", lambda v: "null", "refuse"),
        ("a list", lambda v: "[]", "refuse"),
        ("a number", lambda v: "3", "refuse"),
        ("a text", lambda v: '"abc"', "refuse"),
        ("nested 100,000 deep", lambda v: "[" * 100000 + "]" * 100000, "refuse"),
        ("objects nested 5,000 deep", lambda v: '{"a":' * 5000 + "1" + "}" * 5000, "refuse"),
        ("10 MB of brackets", lambda v: "[" * 10**7, "refuse"),
        ("a number of 10^5 digits", lambda v: '{"zarr_format": ' + "9" * 100000 + "}", "refuse"),
        ("NaN", lambda v: "NaN", "refuse"),
        ("{}", lambda v: {}, "refuse"),
        ("UTF-16", lambda v: json.dumps(v).encode("utf-16").decode("latin-1"), "refuse"),
        ("shape of 10^9 slices", replacing(shape=[10**9, 40, 48]), "refuse"),
        ("shape negative", replacing(shape=[-6, 40, 48]), "refuse"),
        ("shape of texts", replacing(shape=["a", "b", "c"]), "refuse"),
        ("shape of floats", replacing(shape=[6.5, 40, 48]), "refuse"),
        ("shape null", replacing(shape=None), "refuse"),
        ("shape empty", replacing(shape=[]), "refuse"),
        ("shape 0", replacing(shape=[0, 40, 48]), "refuse"),
        ("no shape", replacing(shape=...), "refuse"),
        ("rank 4", replacing(shape=[1, 6, 40, 48]), "refuse"),
        ("shape 10^30", replacing(shape=[10**30, 1, 1]), "refuse"),
    )
    for site, base in (("v.zarr/.zarray", zarr_array(2)), ("v.zarr/zarr.json", zarr_array(3))):
        for name, change, expect in raw:
            yield case("zarr", f"{Path(site).name}: {name}", "v.zarr", on(base, site, change), expect)
    second: tuple[tuple[str, Any, Expectation], ...] = (
        ("zero chunk", {"chunks": [0, 20, 24]}, "refuse"),
        ("negative chunk", {"chunks": [-2, 20, 24]}, "refuse"),
        ("chunk of 10^5 cubed", {"chunks": [10**5] * 3}, "refuse"),
        ("chunks differ from the files", {"chunks": [3, 20, 24]}, "refuse"),
        ("chunks of rank 2", {"chunks": [20, 24]}, "refuse"),
        ("pickled objects", {"dtype": "|O", "filters": [{"id": "pickle"}]}, "refuse"),
        ("filter pickle", {"filters": [{"id": "pickle", "protocol": 5}]}, "refuse"),
        ("filter json2 of objects", {"dtype": "|O", "filters": [{"id": "json2"}]}, "refuse"),
        ("unknown compressor", {"compressor": {"id": "evil"}}, "refuse"),
        ("another compressor", {"compressor": {"id": "bz2", "level": 1}}, "refuse"),
        ("no compressor", {"compressor": None}, "refuse"),
        ("dtype text", {"dtype": "<U100"}, "refuse"),
        ("dtype complex", {"dtype": "<c16"}, "refuse"),
        ("dtype of 2 GB", {"dtype": "|V2147483647"}, "refuse"),
        ("dtype structured", {"dtype": [["a", "<u2"], ["b", "<u2"]]}, "refuse"),
        ("dtype unknown", {"dtype": "abc"}, "refuse"),
        ("dtype <u1", {"dtype": "|u1"}, "refuse"),
        ("format 9", {"zarr_format": 9}, "refuse"),
        ("order F", {"order": "F"}, "any"),
        ("order Q", {"order": "Q"}, "refuse"),
        ("fill value text", {"fill_value": "abc"}, "same"),
        ("separator", {"dimension_separator": "/"}, "refuse"),
        ("separator ../", {"dimension_separator": "/../"}, "refuse"),
    )
    for name, changes, expect in second:
        yield case(
            "zarr", f".zarray: {name}", "v.zarr", on(zarr_array(2), "v.zarr/.zarray", replacing(**changes)), expect
        )
    grid = {"name": "regular", "configuration": {"chunk_shape": [0, 20, 24]}}
    third: tuple[tuple[str, Any, Expectation], ...] = (
        ("zero chunk", {"chunk_grid": grid}, "refuse"),
        ("huge chunk", {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6] * 3}}}, "refuse"),
        ("no chunk grid", {"chunk_grid": ...}, "refuse"),
        ("codecs empty", {"codecs": []}, "refuse"),
        ("codec unknown", {"codecs": [{"name": "evil"}]}, "refuse"),
        ("codec numcodecs.pickle", {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]}, "refuse"),
        (
            "sharding in sharding",
            {
                "codecs": [
                    {
                        "name": "sharding_indexed",
                        "configuration": {
                            "chunk_shape": [2, 20, 24],
                            "codecs": [
                                {
                                    "name": "sharding_indexed",
                                    "configuration": {"chunk_shape": [2, 20, 24], "codecs": [{"name": "bytes"}]},
                                }
                            ],
                        },
                    }
                ]
            },
            "refuse",
        ),
        ("data type unknown", {"data_type": "evil"}, "refuse"),
        ("data type text", {"data_type": "string"}, "refuse"),
        ("node type", {"node_type": "evil"}, "refuse"),
        ("a group", {"node_type": "group"}, "refuse"),
        ("format 2", {"zarr_format": 2}, "refuse"),
        ("must understand", {"evil": {"must_understand": True}}, "refuse"),
        ("storage transformer", {"storage_transformers": [{"name": "evil", "configuration": {}}]}, "refuse"),
        ("key encoding", {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}}, "refuse"),
        ("attributes a list", {"attributes": [1]}, "same"),
        ("dimension names of rank 1", {"dimension_names": ["z"]}, "same"),
        ("fill value missing", {"fill_value": ...}, "same"),
    )
    for name, changes, expect in third:
        yield case(
            "zarr", f"zarr.json: {name}", "v.zarr", on(zarr_array(3), "v.zarr/zarr.json", replacing(**changes)), expect
        )

    def levels(*paths: Any, **scale: Any) -> Callable[[Any], Any]:
        one = scale.get("scale", [VOXEL_UM] * 3)
        return multiscale(
            datasets=[{"path": path, "coordinateTransformations": [{"type": "scale", "scale": one}]} for path in paths]
        )

    groups: tuple[tuple[str, Callable[[Any], Any], Expectation], ...] = (
        ("null", lambda v: "null", "same"),
        ("no multiscales", lambda v: {}, "same"),
        ("multiscales a text", lambda v: {"multiscales": "abc"}, "same"),
        ("multiscales empty", lambda v: {"multiscales": []}, "same"),
        ("multiscales of null", lambda v: {"multiscales": [None]}, "same"),
        ("path ..", levels(".."), "refuse"),
        ("path ../../outside/secret.zarr", levels("../../outside/secret.zarr"), "refuse"),
        ("path /", levels("/"), "refuse"),
        ("path empty", levels(""), "refuse"),
        ("path missing", levels("7"), "refuse"),
        ("path a number", levels(0), "same"),
        ("path null", levels(None), "refuse"),
        ("no datasets", levels(), "refuse"),
        ("10^5 datasets", levels(*["0"] * 10**5), "same"),
        ("scale nan", lambda v: json.dumps(levels("0", scale=[float("nan")] * 3)(v)), "same"),
        ("scale 0", levels("0", scale=[0, 0, 0]), "same"),
        ("scale negative", levels("0", scale=[-20.0, 20.0, 20.0]), "same"),
        ("scale of texts", levels("0", scale=["a", "b", "c"]), "same"),
        ("scale of two", levels("0", scale=[1, 2]), "same"),
        ("scale 1e308", levels("0", scale=[1e308] * 3), "same"),
        ("axes null", multiscale(axes=None), "same"),
        ("axes of one", multiscale(axes=[{"name": "z"}]), "same"),
        ("axes with cycle of names", multiscale(axes=[{"name": "z"}] * 3), "same"),
        ("axes of texts", multiscale(axes=["z", "y", 3]), "same"),
        (
            "axes in another order",
            multiscale(axes=[{"name": n, "type": "space", "unit": "micrometer"} for n in "xyz"]),
            "any",
        ),
        ("unit parsec", multiscale(axes=[{"name": n, "type": "space", "unit": "parsec"} for n in "zyx"]), "same"),
        ("unit 3", multiscale(axes=[{"name": n, "type": "space", "unit": 3} for n in "zyx"]), "same"),
        (
            "transformations a text",
            lambda v: multiscale(datasets=[{"path": "0", "coordinateTransformations": "abc"}])(v),
            "same",
        ),
    )
    for name, change, expect in groups:
        yield case("zarr", f".zattrs: {name}", "v.zarr", on(ome_zarr, "v.zarr/.zattrs", change), expect)

    def linked_chunk(folder: Path, rng: Rng) -> None:
        zarr_array(2)(folder)
        (folder / "v.zarr/1.1.1").unlink()
        (folder / "v.zarr/1.1.1").symlink_to("../../outside/secret.raw")

    # Links that the user made in the folder are followed, as for every other file.
    yield replace(case("zarr", "chunk is a link to a file outside", "v.zarr", linked_chunk, "refuse"), outside=True)
