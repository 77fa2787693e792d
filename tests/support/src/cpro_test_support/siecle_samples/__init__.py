"""Synthetic pupils, and the national pupil file of a school that has them.

Every name and number is invented. The keys of the INE are right, so that the files pass for real ones.
"""

from cpro_test_support.siecle_samples.cli import main
from cpro_test_support.siecle_samples.files import (
    DEFAULT_BLOCKS,
    SampleFile,
    siecle_xml,
    siecle_zip,
    write_siecle_xml,
    zipped,
)
from cpro_test_support.siecle_samples.mobility import Mobility, academy
from cpro_test_support.siecle_samples.pupils import SamplePupil, bea_ine, generate_pupils, rnie_ine
from cpro_test_support.siecle_samples.records import RecordStyle

__all__ = [
    "DEFAULT_BLOCKS",
    "Mobility",
    "RecordStyle",
    "SampleFile",
    "SamplePupil",
    "academy",
    "bea_ine",
    "generate_pupils",
    "main",
    "rnie_ine",
    "siecle_xml",
    "siecle_zip",
    "write_siecle_xml",
    "zipped",
]
