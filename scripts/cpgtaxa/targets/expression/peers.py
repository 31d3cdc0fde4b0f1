"""Peers of DeepMethyGene from scikit-learn, on the same folds; all of them choose what they choose inside the fold."""

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import ElasticNetCV, RidgeCV
from sklearn.svm import SVR

from cpgtaxa.targets.expression.regressors import FoldByFold

PENALTIES = np.logspace(-1, 5, 19)
"""Of ridge regression, tried."""


def _linear(model):
    """Prediction of a linear model, and how much each CpG moves it: |coefficient| times the mean |x|."""
    return model.predict, lambda x: np.abs(model.coef_) * np.abs(x).mean(axis=0)


class ElasticNet(FoldByFold):
    """geneEXPLORE (Kim et al. 2020): as much lasso as ridge, the penalty by cross-validation.

    geneEXPLORE scores the very predictions by which it chose the penalty; here the penalty is chosen inside the fold.
    """

    def fit(self, x, y, inner, seed):
        return _linear(ElasticNetCV(l1_ratio=0.5, alphas=50, eps=1e-2, cv=inner, max_iter=3000, tol=1e-3).fit(x, y))


class Ridge(FoldByFold):
    """Ridge regression, the penalty by leave-one-out."""

    def fit(self, x, y, inner, seed):
        return _linear(RidgeCV(PENALTIES).fit(x, y))


class RandomForest(FoldByFold):
    """100 trees, scikit-learn's defaults, as published."""

    def fit(self, x, y, inner, seed):
        model = RandomForestRegressor(100, random_state=seed % 2**32).fit(x, y)
        return model.predict, lambda x: model.feature_importances_


class SVM(FoldByFold):
    """Support vector regression with a radial kernel, scikit-learn's defaults, as published."""

    def fit(self, x, y, inner, seed):
        return SVR().fit(x, y).predict, None


class Mean(FoldByFold):
    """The mean of the training samples: what a model must beat."""

    def fit(self, x, y, inner, seed):
        mean = y.mean()
        return lambda x: np.full(len(x), mean), None
