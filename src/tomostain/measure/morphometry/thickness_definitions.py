"""Definitions of the measures of thickness, separation and number."""

from tomostain.measure.measures import define

_BIAS = "The diameter is twice the distance to the nearest voxel outside."

TB_TH = define(
    "trabecular_thickness",
    symbol="Tb.Th",
    title="trabecular thickness",
    unit="µm",
    dimension=3,
    method="sphere-fitting-1",
    text=f"""Mean local thickness of all mineralised bone in the field of view, old and new, cortex included: the
    diameter of the largest sphere that lies in bone and contains the voxel (Hildebrand & Rüegsegger 1997,
    doi:10.1046/j.1365-2818.1997.1340694.x). {_BIAS}""",
)
TB_TH_SD = define(
    "trabecular_thickness_sd",
    symbol="Tb.Th.SD",
    title="standard deviation of trabecular thickness",
    unit="µm",
    dimension=3,
    method="sphere-fitting-1",
    text="Standard deviation of the local thickness (see Tb.Th) over the voxels of bone.",
)
TB_SP = define(
    "trabecular_separation",
    symbol="Tb.Sp",
    title="trabecular separation",
    unit="µm",
    dimension=3,
    method="sphere-fitting-1",
    text=f"""Mean local thickness of soft tissue and marrow in the field of view, by sphere fitting as for Tb.Th. Bone,
    implant and void bound it. {_BIAS}""",
)
TB_SP_SD = define(
    "trabecular_separation_sd",
    symbol="Tb.Sp.SD",
    title="standard deviation of trabecular separation",
    unit="µm",
    dimension=3,
    method="sphere-fitting-1",
    text="Standard deviation of the local separation (see Tb.Sp) over the voxels of soft tissue and marrow.",
)
TB_N = define(
    "trabecular_number",
    symbol="Tb.N",
    title="trabecular number",
    unit="1/mm",
    dimension=3,
    method="plate-model-1",
    text="""(BV/TV) / Tb.Th (Bouxsein et al. 2010, doi:10.1002/jbmr.141), with Tb.Th by sphere fitting. BV is all
    mineralised bone, and TV is bone with soft tissue and marrow: without implant, void and voxels that are not
    measured.""",
)
TB_WI = define(
    "trabecular_width_plane",
    symbol="Tb.Wi",
    title="trabecular width in the plane",
    unit="µm",
    dimension=2,
    method="circle-fitting-1",
    text="""Mean local width of all mineralised bone in the plane: the diameter of the largest circle that lies in bone
    and contains the pixel. It is not Tb.Th: a plane cuts plates obliquely.""",
)
TB_WI_SD = define(
    "trabecular_width_plane_sd",
    symbol="Tb.Wi.SD",
    title="standard deviation of trabecular width in the plane",
    unit="µm",
    dimension=2,
    method="circle-fitting-1",
    text="Standard deviation of the local width (see Tb.Wi) over the pixels of bone.",
)
TB_SP_PLANE = define(
    "trabecular_separation_plane",
    symbol="Tb.Sp (2D)",
    title="trabecular separation in the plane",
    unit="µm",
    dimension=2,
    method="circle-fitting-1",
    text="""Mean local width of soft tissue and marrow in the plane, by circles as for Tb.Wi. Bone, implant and void
    bound it.""",
)
TB_SP_PLANE_SD = define(
    "trabecular_separation_plane_sd",
    symbol="Tb.Sp.SD (2D)",
    title="standard deviation of trabecular separation in the plane",
    unit="µm",
    dimension=2,
    method="circle-fitting-1",
    text="Standard deviation of the local separation in the plane over the pixels of soft tissue and marrow.",
)
