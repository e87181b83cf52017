// Adds the tissue classes that tomostain exported to the images of a QuPath project (QuPath 0.4 or later).
//
// 1. Add the *.ome.tif files of this folder to a project.
// 2. Automate > Script editor, open this file, then Run > Run for project, and choose the images.
//
// The classes of an image are in NAME.geojson next to it. If the script runs again, it replaces them.

import qupath.lib.io.PathIO

def image = new File(getCurrentServer().getURIs().iterator().next())
def section = image.getName().replaceFirst(/\.(virtual|slide|ct|labels)\.ome\.tiff?$/, '')
def file = new File(image.getParentFile(), section + '.geojson')
if (!file.exists()) {
    println image.getName() + ': there is no ' + file.getName() + ' next to it'
    return
}
def classes = PathIO.readObjects(file)
def ids = classes.collect { it.getID() } as Set
removeObjects(getAnnotationObjects().findAll { ids.contains(it.getID()) }, true)
addObjects(classes)
println image.getName() + ': ' + classes.size() + ' annotations'
