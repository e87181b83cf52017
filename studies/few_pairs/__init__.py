"""How many pairs a training needs, with and without the weights of a model that the package ships."""
