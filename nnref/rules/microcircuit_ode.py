"""The microcircuit in time: differential equations instead of their steady state (Sacramento 2018).

microcircuit.py says what the compartments are for. Here every potential follows its own equation,
all at once: no phases, no forward and backward pass. A hidden soma, an interneuron, an output soma:

    C du_k/dt  = -glk u_k  + gB (vB_k - u_k)  + gA (vA_k - u_k)                              Eq. 1
    C duI_k/dt = -glk uI_k + gD (vI_k - uI_k) + gsom (u_{k+1} - uI_k)                        Eq. 2
    C du_N/dt  = -glk u_N  + gB (vB_N - u_N)  + gsom (u_trgt - u_N)      the last while taught

The current gsom (u_trgt - u) stands for an excitatory and an inhibitory conductance (`nudge`). The
paper adds noise to each equation; it is left out. What learns is the product of a rate and a local
difference, smoothed with the time constant tau_w: the smoothed product lasts longer, but its sum
over time is the same.

Settling takes some ms. Until the news has traveled up and down, plasticity learns from errors that
are none: so let it wait a while at every new input (`lag`). Neurons whose rate is prospective,
phi(u + tau du/dt), need not wait (Haider et al. 2021, Latent equilibrium). And the loop of rates
through B and W can ring or diverge where the product of its gains exceeds 1.
"""

from typing import NamedTuple

from nnref.backend import xp


class Conductances(NamedTuple):
    """Conductances in nS at C = 1 pF, so in 1/ms; the values are of code for the paper's tasks."""

    glk: float = 0.1  # leak
    gB: float = 1.0  # from the basal dendrite to the soma
    gA: float = 0.8  # from the apical dendrite to the soma
    gD: float = 1.0  # from the dendrite of an interneuron to its soma
    gsom: float = 0.8  # of a nudge: from a teacher to an output cell, from there to an interneuron

    @property
    def mixing(self) -> dict[str, float]:
        """lam, lamI and lamN: the shares of the apical dendrite and of the nudge in a soma."""
        return {
            "lam": self.gA / (self.glk + self.gB + self.gA),
            "lamI": self.gsom / (self.glk + self.gD + self.gsom),
            "lamN": self.gsom / (self.glk + self.gB + self.gsom),
        }

    def basal(self, hidden: bool) -> float:
        """What is left of the basal potential in the soma at rest: output cells have no gA."""
        return self.gB / (self.glk + self.gB + (self.gA if hidden else 0))


def nudge(u, u_trgt, gsom, e_exc, e_inh):
    """The current of the two conductances that pull u toward u_trgt: it equals gsom (u_trgt - u).

    Neither is negative if u_trgt lies between the reversal potentials e_inh and e_exc.
    """
    g_exc = gsom * (u_trgt - e_inh) / (e_exc - e_inh)
    g_inh = -gsom * (u_trgt - e_exc) / (e_exc - e_inh)
    return g_exc * (e_exc - u) + g_inh * (e_inh - u)


class Circuit:
    """Populations of pyramidal cells with their interneurons, in the self-predicting state.

    W      N matrices (n_{k-1}, n_k), bottom first; B: N - 1 matrices of the shapes of W[1:]
    phi    the function from potentials to rates
    rows   how many circuits with these weights run side by side, each with an input of its own

    Potentials u (rows, n_k) of somas and uI of interneurons, relative to rest, start at 0.
    """

    def __init__(self, W, B, phi, g=Conductances(), rows=1):
        self.W, self.B, self.phi, self.g = [w.copy() for w in W], B, phi, g
        self.basal = [g.basal(hidden=k < len(B)) for k in range(len(W))]
        self.dendritic = g.gD / (g.glk + g.gD)  # what is left of vI in an interneuron at rest
        self.WIP = [w * a / self.dendritic for w, a in zip(W[1:], self.basal[1:], strict=True)]
        self.WPI = [-b.T for b in B]
        self.u = [xp.zeros((rows, w.shape[1]), w.dtype) for w in W]
        self.uI = [xp.zeros_like(u) for u in self.u[1:]]
        self.slow = {name: [0.0] * len(getattr(self, name)) for name in ("W", "WIP", "WPI")}

    def dendrites(self, r0):
        """(vB, vA, vI) for the input rates r0 (rows, n_0): lists, bottom first."""
        r, rI = [r0, *map(self.phi, self.u)], [*map(self.phi, self.uI)]
        hidden = range(len(self.B))
        vB = [r[k] @ W for k, W in enumerate(self.W)]  # Eq. 3
        vA = [r[k + 2] @ self.B[k].T + rI[k] @ self.WPI[k] for k in hidden]  # Eq. 4
        vI = [r[k + 1] @ self.WIP[k] for k in hidden]  # Eq. 5
        return vB, vA, vI

    def step(self, r0, u_trgt, dt):
        """One step of Euler's rule, dt in ms; u_trgt (rows, n_N), or None without a teacher."""
        (glk, gB, gA, gD, gsom), (vB, vA, vI) = self.g, self.dendrites(r0)
        rates = [-glk * u + gB * (v - u) for u, v in zip(self.u, vB, strict=True)]
        of_inter = [-glk * uI + gD * (v - uI) for uI, v in zip(self.uI, vI, strict=True)]
        for k in range(len(self.B)):
            rates[k] += gA * (vA[k] - self.u[k])  # Eq. 1
            of_inter[k] += gsom * (self.u[k + 1] - self.uI[k])  # Eq. 2
        if u_trgt is not None:
            rates[-1] += gsom * (u_trgt - self.u[-1])
        for u, rate in zip(self.u + self.uI, rates + of_inter, strict=True):
            u += dt * rate

    def products(self, r0):
        """{"W", "WIP", "WPI": what each matrix would learn from now}, means over the rows."""
        phi, (vB, vA, vI) = self.phi, self.dendrites(r0)
        r, rI, rows = [r0, *map(phi, self.u)], [*map(phi, self.uI)], len(r0)
        hidden = range(len(self.B))
        errors = [phi(u) - phi(a * v) for u, a, v in zip(self.u, self.basal, vB, strict=True)]
        of_inter = [rI[k] - phi(self.dendritic * vI[k]) for k in hidden]
        return {
            "W": [r[k].T @ error / rows for k, error in enumerate(errors)],  # Eq. 7
            "WIP": [r[k + 1].T @ of_inter[k] / rows for k in hidden],  # Eq. 8
            "WPI": [rI[k].T @ (0 - vA[k]) / rows for k in hidden],  # Eq. 9: the rest potential is 0
        }

    def learn(self, r0, etas, dt, tau_w=30.0):
        """Change the matrices named in `etas`, {"W": [a rate in 1/ms for each], ...}, for dt ms."""
        products = self.products(r0)
        for name, rates in etas.items():
            for k, eta in enumerate(rates):
                self.slow[name][k] += dt / tau_w * (products[name][k] - self.slow[name][k])
                getattr(self, name)[k] += dt * eta * self.slow[name][k]

    def show(self, r0, u_trgt, ms, dt=0.1, etas=None, lag=0.0):
        """Show one input for `ms`; matrices learn at the rates `etas` after the first `lag` ms."""
        for t in range(round(ms / dt)):
            self.step(r0, u_trgt, dt)
            if etas and t * dt >= lag:
                self.learn(r0, etas, dt)
