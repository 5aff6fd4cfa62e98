"""Make the package's cmb_tt_planck2018.csv: Planck 2018's best-fit lensed CMB spectrum.

Run it from anywhere in an environment with ``camb`` (the package itself does not need CAMB):
``pip install camb && python resources/simulation/make_cmb_table.py``.

The parameters are the best fit of "TT,TE,EE+lowE+lensing" in Planck 2018 results VI
(A&A 641, A6, Table 1). CAMB: Lewis, Challinor & Lasenby 2000, ApJ 538, 473.
"""

from pathlib import Path

import camb
import numpy as np

LMAX = 8000
PARAMETERS = {
    "ombh2": 0.022383,
    "omch2": 0.12011,
    "H0": 67.32,
    "mnu": 0.06,
    "omk": 0.0,
    "tau": 0.0543,
    "As": np.exp(3.0448) * 1e-10,
    "ns": 0.96605,
}


def main() -> None:
    """Compute the spectrum and write it beside this script."""
    parameters = camb.set_params(
        **PARAMETERS, lmax=LMAX + 1000, lens_potential_accuracy=2, halofit_version="mead2020"
    )
    spectra = camb.get_results(parameters).get_lensed_scalar_cls(lmax=LMAX, CMB_unit="muK")
    # Every multipole to 100, then every fifth: linear interpolation is good to 2e-4 throughout.
    ell = np.concatenate([np.arange(2, 100), np.arange(100, LMAX + 1, 5)])
    header = (
        "Lensed CMB temperature power spectrum, D_l = l (l + 1) C_l / 2 pi\n"
        f"CAMB {camb.__version__}, Planck 2018 TT,TE,EE+lowE+lensing best fit: "
        + ", ".join(f"{key}={value:.6g}" for key, value in PARAMETERS.items())
        + "\nl,dl_tt_uk2"
    )
    table = np.column_stack([ell, spectra[ell, 0]])
    root = Path(__file__).resolve().parents[2]
    target = root / "src" / "clusterscan" / "simulate" / "cmb_tt_planck2018.csv"
    np.savetxt(target, table, fmt=["%d", "%.6g"], delimiter=",", header=header)


if __name__ == "__main__":
    main()
