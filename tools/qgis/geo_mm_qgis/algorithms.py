"""The Processing algorithms: each builds a command of geo-mm, runs it, loads what it wrote."""

import os
import shlex

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorLayer,
)

from . import command

MODELS = ('unet', 'mask-rcnn', 'faster-rcnn', 'retinanet', 'pspnet', 'deeplabv3plus', 'segformer')
_LAYERS = ('.tif', '.gpkg', '.geojson', '.fgb', '.parquet')
_MODEL_FILES = 'Models (*.pth *.safetensors *.onnx *.emd *.dlpk)'


class _Algorithm(QgsProcessingAlgorithm):
    """What all algorithms share."""

    key = title = help = ''

    def createInstance(self):  # noqa: N802
        return type(self)()

    def name(self):
        return self.key

    def displayName(self):  # noqa: N802
        return self.title

    def shortHelpString(self):  # noqa: N802
        return self.help

    def source(self, parameters, name, context):
        """The file of a layer."""
        layer = self.parameterAsLayer(parameters, name, context)
        return layer.source().split('|')[0] if layer is not None else ''

    def more(self, parameters, context):
        """Further options as they would be typed."""
        return shlex.split(self.parameterAsString(parameters, 'MORE', context))

    def add_more(self):
        parameter = QgsProcessingParameterString(
            'MORE', 'Further options of the command', '', optional=True
        )
        parameter.setFlags(parameter.flags() | parameter.FlagAdvanced)
        self.addParameter(parameter)

    def load(self, lines, context):
        """Load the layers that a command has named; their styles are beside them."""
        for path in map(str.strip, lines):
            if path.lower().endswith(_LAYERS) and os.path.isfile(path):
                name = os.path.splitext(os.path.basename(path))[0]
                details = QgsProcessingContext.LayerDetails(name, context.project(), name)
                context.addLayerToLoadOnCompletion(path, details)


class ChooseAlgorithm(_Algorithm):
    key, title = 'environment', 'Choose the Python of geo_mm'
    help = (
        'The python program of the environment in which geo_mm is installed: '
        '.venv/bin/python, or .venv\\Scripts\\python.exe. It is checked, and remembered.'
    )

    def initAlgorithm(self, config=None):  # noqa: N802
        # '*.*', the default, refuses a name without a dot.
        self.addParameter(
            QgsProcessingParameterFile('PYTHON', 'Python with geo_mm', fileFilter='Programs (*)')
        )
        self.addOutput(QgsProcessingOutputString('VERSION', 'Version of geo_mm'))

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        version = command.choose(self.parameterAsFile(parameters, 'PYTHON', context))
        feedback.pushInfo(version)
        return {'VERSION': version}


class DescribeAlgorithm(_Algorithm):
    key, title = 'describe', 'Describe a model'
    help = 'What a model needs and gives, and whether an image suits it.'

    def initAlgorithm(self, config=None):  # noqa: N802
        self.addParameter(
            QgsProcessingParameterFile('MODEL', 'Model or result', fileFilter=_MODEL_FILES)
        )
        self.addParameter(
            QgsProcessingParameterRasterLayer('IMAGE', 'Image to compare', optional=True)
        )
        self.addOutput(QgsProcessingOutputString('TEXT', 'Description'))

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        words = ['describe', self.parameterAsFile(parameters, 'MODEL', context)]
        image = self.source(parameters, 'IMAGE', context)
        words += ['--image', image] if image else []
        return {'TEXT': '\n'.join(command.run(words, feedback, accepted=(0, 1)))}


class PredictAlgorithm(_Algorithm):
    key, title = 'predict', 'Predict an image'
    help = (
        'Classes of pixels as a GeoTIFF, or objects as a GeoPackage, with styles. '
        'A run that was cancelled resumes where it stopped if it is started again.'
    )

    def initAlgorithm(self, config=None):  # noqa: N802
        self.addParameter(QgsProcessingParameterFile('MODEL', 'Model', fileFilter=_MODEL_FILES))
        self.addParameter(QgsProcessingParameterRasterLayer('IMAGE', 'Image'))
        self.addParameter(
            QgsProcessingParameterVectorLayer(
                'AOI',
                'Only inside these polygons',
                [QgsProcessing.TypeVectorPolygon],
                optional=True,
            )
        )
        self.addParameter(QgsProcessingParameterBoolean('LOAD', 'Load the results', True))
        self.add_more()
        self.addParameter(QgsProcessingParameterFolderDestination('OUTPUT', 'Folder of results'))

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        out = self.parameterAsString(parameters, 'OUTPUT', context)
        model = self.parameterAsFile(parameters, 'MODEL', context)
        words = ['predict', model, self.source(parameters, 'IMAGE', context), '-o', out]
        aoi = self.source(parameters, 'AOI', context)
        words += ['--aoi', aoi] if aoi else []
        lines = command.run(words + self.more(parameters, context), feedback)
        if self.parameterAsBoolean(parameters, 'LOAD', context):
            self.load(lines, context)
        return {'OUTPUT': out}


class TrainAlgorithm(_Algorithm):
    key, title = 'train', 'Train a model'
    help = (
        'From an image and its labels. Settings are chosen by looking at both, and written '
        'to a config in the folder. Cancelling saves a checkpoint.'
    )

    def initAlgorithm(self, config=None):  # noqa: N802
        self.addParameter(QgsProcessingParameterRasterLayer('IMAGE', 'Image'))
        self.addParameter(QgsProcessingParameterMapLayer('LABELS', 'Labels'))
        self.addParameter(QgsProcessingParameterEnum('MODEL', 'Model', MODELS, defaultValue=0))
        self.add_more()
        self.addParameter(
            QgsProcessingParameterFolderDestination('OUTPUT', 'Folder of logs and checkpoints')
        )

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        out = self.parameterAsString(parameters, 'OUTPUT', context)
        image, labels = (self.source(parameters, name, context) for name in ('IMAGE', 'LABELS'))
        model = MODELS[self.parameterAsEnum(parameters, 'MODEL', context)]
        words = ['train', image, labels, '--model', model, '--work-dir', out]
        command.run(words + self.more(parameters, context), feedback)
        return {'OUTPUT': out}


class EvaluateAlgorithm(_Algorithm):
    key, title = 'evaluate', 'Evaluate a result'
    help = 'Compares a result with ground truth on the map: scores, a report, matched objects.'

    def initAlgorithm(self, config=None):  # noqa: N802
        self.addParameter(QgsProcessingParameterMapLayer('RESULT', 'Result'))
        self.addParameter(QgsProcessingParameterMapLayer('TRUTH', 'Ground truth'))
        self.addParameter(QgsProcessingParameterBoolean('LOAD', 'Load matched objects', True))
        self.add_more()
        self.addParameter(QgsProcessingParameterFolderDestination('OUTPUT', 'Folder of the report'))

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802
        out = self.parameterAsString(parameters, 'OUTPUT', context)
        result, truth = (self.source(parameters, name, context) for name in ('RESULT', 'TRUTH'))
        words = ['evaluate', result, truth, '-o', out, *self.more(parameters, context)]
        command.run(words, feedback)
        if self.parameterAsBoolean(parameters, 'LOAD', context):
            self.load([os.path.join(out, 'matches.gpkg')], context)
        return {'OUTPUT': out}


ALGORITHMS = (
    ChooseAlgorithm,
    DescribeAlgorithm,
    PredictAlgorithm,
    TrainAlgorithm,
    EvaluateAlgorithm,
)
