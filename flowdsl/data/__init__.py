"""Values and exceptions, to text and back: see `converter`."""

from flowdsl.data.codecs import Chain, Codec, Zlib, Zstd
from flowdsl.data.converter import Converter
from flowdsl.data.encryption import Aes
from flowdsl.data.failures import attach_cause
from flowdsl.data.keys import KeyRing
from flowdsl.data.serializers import Serializer
from flowdsl.data.setup import default_converter
from flowdsl.data.stores import FileStore, MemoryStore, S3Store, Store, store_from

__all__ = [
    "Aes",
    "Chain",
    "Codec",
    "Converter",
    "FileStore",
    "KeyRing",
    "MemoryStore",
    "S3Store",
    "Serializer",
    "Store",
    "Zlib",
    "Zstd",
    "attach_cause",
    "default_converter",
    "store_from",
]
