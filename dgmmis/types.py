"""Array aliases: the shapes of the field, checked by beartype under pytest and free of cost otherwise.

Letters: n samples, k components, d features of the model, m measured features, t = m(m+1)/2 packed entries.
"""

import numpy as np
from jaxtyping import Float, Int

Vector = Float[np.ndarray, " n"]
Points = Float[np.ndarray, "n d"]
Feature = Float[np.ndarray, " d"]
Matrix = Float[np.ndarray, "d d"]
Weights = Float[np.ndarray, " k"]
Means = Float[np.ndarray, "k d"]
Covariances = Float[np.ndarray, "k d d"]
Indices = Int[np.ndarray, " n"]
