"""scikit-learn estimators: the same models and the same training behind `fit` and `transform`.

Needs scikit-learn, which ``import gibbsite`` alone does not load: ``gb.BernoulliRBM``
and the others are looked up here when first asked for.
"""

from gibbsite.estimators.bernoulli import BernoulliRBM
from gibbsite.estimators.classifier import RBMClassifier
from gibbsite.estimators.gaussian import GaussianRBM
from gibbsite.estimators.imputer import RBMImputer
from gibbsite.estimators.table import TableRBM

__all__ = ["BernoulliRBM", "GaussianRBM", "RBMClassifier", "RBMImputer", "TableRBM"]
