"""Where values live that are too large for a history: `base` says what a store is, `uris` what a setting means."""

from flowdsl.data.stores.base import VARIABLE, Clearable, FileStore, MemoryStore, Store, Stored, content_key
from flowdsl.data.stores.s3 import S3Store
from flowdsl.data.stores.uris import store_from

__all__ = ["VARIABLE", "Clearable", "FileStore", "MemoryStore", "S3Store", "Store", "Stored", "content_key", "store_from"]
