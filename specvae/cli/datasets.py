"""The public data sets that ``specvae download`` knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file to fetch.

    Parameters
    ----------
    name
        Its name on disk.
    url
        Its public address.
    checksum
        ``md5:...`` or ``sha256:...``, as published. None if none is published, as for files that
        their owners update, and for archives that are packed anew for each request.
    origin
        The source of the address. Addresses were not tested when the catalogue was written; a
        checksum reveals a wrong file.
    """

    name: str
    url: str
    checksum: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set, with information for its users.

    Parameters
    ----------
    title
        One line.
    source
        Where it is described.
    licence
        The terms of use.
    files
        In the order in which they are fetched.
    note
        How to use the files, or what they lack.
    """

    title: str
    source: str
    licence: str
    files: tuple[RemoteFile, ...]
    note: str = ""


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_SVHN = "http://ufldl.stanford.edu/housenumbers/"
_TORCHVISION = "torchvision's data set of the same name, checksum included"
_CASMI_COMMIT = "b2e30017850d5607477dd305ad7b2ed8c93b05bc"

CATALOGUE: Mapping[str, Dataset] = {
    "mona": Dataset(
        title="MassBank of North America, LC-MS/MS spectra in positive mode (MSP)",
        source="https://mona.fiehnlab.ucdavis.edu/downloads",
        licence="per record, mostly CC BY 4.0 (stated in each record)",
        files=(
            RemoteFile(
                name="MoNA-export-LC-MS-MS_Positive_Mode-msp.zip",
                url="https://mona.fiehnlab.ucdavis.edu/rest/downloads/retrieve/"
                "873fbe29-4808-46d1-a4a3-a4134ac8c755",
                checksum=None,
                origin="named as this export by several public projects; not tried",
            ),
        ),
        note="unzip it, then train with --spectra on the .msp inside; the export changes over time",
    ),
    "massbank": Dataset(
        title="MassBank 2026.03, all records (MSP)",
        source="https://github.com/MassBank/MassBank-data",
        licence="per record: CC0, CC BY, CC BY-SA, some CC BY-NC (stated in each record)",
        files=(
            RemoteFile(
                name="MassBank_NISTformat.msp",
                url="https://github.com/MassBank/MassBank-data/releases/download/2026.03/"
                "MassBank_NISTformat.msp",
                checksum=None,
                origin="the release's asset, as several public projects fetch it; not tried",
            ),
        ),
        note="train with --spectra on it; a model that is given away may hold no record under NC",
    ),
    "casmi2017": Dataset(
        title="CASMI 2017 challenges as MGF files, with solutions (and other years')",
        source="http://casmi-contest.org/2017/index.shtml",
        licence="MIT (repository hcji/All_CASMI)",
        files=(
            RemoteFile(
                name="All_CASMI.zip",
                url=f"https://github.com/hcji/All_CASMI/archive/{_CASMI_COMMIT}.zip",
                checksum=None,
                origin="a fixed commit of the repository that collects the contests; not tried",
            ),
        ),
        note="the contest's official candidate lists are not in it",
    ),
    "mnist": Dataset(
        title="MNIST, handwritten digits in idx format",
        source="http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0",
        files=tuple(
            RemoteFile(name, _MNIST + name, f"md5:{md5}", _TORCHVISION)
            for name, md5 in (
                ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
                ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
                ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
            )
        ),
    ),
    "svhn": Dataset(
        title="Street View House Numbers, cropped digits (format 2, MATLAB)",
        source="http://ufldl.stanford.edu/housenumbers/",
        licence="non-commercial use only",
        files=tuple(
            RemoteFile(name, _SVHN + name, f"md5:{md5}", _TORCHVISION)
            for name, md5 in (
                ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
                ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
            )
        ),
    ),
    "cub": Dataset(
        title="Caltech-UCSD Birds, images and captions as cleaned for MMVAE",
        source="https://github.com/iffsid/mmvae",
        licence="images for non-commercial research and education (Caltech-UCSD Birds 200-2011)",
        files=(
            RemoteFile(
                name="cub.zip",
                url="http://www.robots.ox.ac.uk/~yshi/mmdgm/datasets/cub.zip",
                checksum=None,
                origin="README of the MMVAE code; not tried",
            ),
        ),
        note="unzip it in its folder",
    ),
}
