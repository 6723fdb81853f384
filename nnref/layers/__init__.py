"""The layers a network is made of; read linear.py first."""

from nnref.layers.activations import ReLU, Sigmoid, Tanh
from nnref.layers.base import Layer
from nnref.layers.compose import Flatten, Residual, Sequential
from nnref.layers.conv import Conv2d
from nnref.layers.linear import Linear
from nnref.layers.local import LocallyConnected2d
from nnref.layers.norm import BatchNorm
from nnref.layers.pool import AvgPool2d, GlobalAvgPool, MaxPool2d

__all__ = [
    "AvgPool2d",
    "BatchNorm",
    "Conv2d",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "Linear",
    "LocallyConnected2d",
    "MaxPool2d",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Tanh",
]
