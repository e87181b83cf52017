"""The napari plugin: readers, samples and widgets over the functions of the package.

napari imports it through the manifest ``napari.yaml``; no other package of tomostain does. It needs the extra
``napari``. A widget holds no computation: it calls the function of a stage in a thread (`tomostain.napari.tasks`) with
the defaults of the command line (`tomostain.napari.fields`).
"""
