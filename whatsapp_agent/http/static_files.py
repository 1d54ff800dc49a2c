"""The storage of static files."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Put the hash of its content into each file's name, also where a JavaScript module imports another.

    Django leaves imports alone by default; the imported file would be missing, as only hashed files are kept.
    https://docs.djangoproject.com/en/5.2/ref/contrib/staticfiles/#manifeststaticfilesstorage
    """

    support_js_module_import_aggregation = True
